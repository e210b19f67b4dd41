// Building blocks of the page. Text becomes text nodes only: nothing here can parse markup.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  up: "M7 11v9H4v-9zM7 11l4-8c1.6 0 2.5 1 2.5 2.5V9H19c1.4 0 2.2 1.1 2 2.3l-1.2 7A2 2 0 0 1 17.8 20H7",
  plot: "M4 4v16h16M8 15l4-5 3 3 5-7",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7v5l4 2",
  pause: "M9 5v14M15 5v14",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  retry: "M19 8a8 8 0 1 0 1 6M20 4v5h-5",
  check: "M5 13l4 4L19 7",
  close: "M6 6l12 12M18 6L6 18",
  team: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6M2.5 19a5.5 5.5 0 0 1 11 0M16 5.5a3 3 0 0 1 0 5.5M17 14a5.5 5.5 0 0 1 4.5 5",
  play: "M8 5l11 7-11 7z",
  down: "M12 5v14M6 13l6 6 6-6",
};

/** `el("p.note", {title: "x", onclick: f}, "text", node)`: an element with classes, attributes and children. */
export function el(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

export function svg(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/** A button with an icon; its `label` is what it is called, and seen when `shown`. */
export function button(name, label, act, { shown = false, kind = "plain" } = {}) {
  const attributes = { type: "button", onclick: act, "aria-label": shown ? null : label, title: shown ? null : label };
  return el(`button.${kind}`, attributes, name && icon(name), shown ? label : null);
}

/** A table that scrolls by itself where it is too wide; `rows` is its body, or what stands in it. */
export function table(label, heads, rows) {
  const head = el("thead", {}, el("tr", {}, ...heads.map((each) => el("th", { scope: "col" }, each))));
  const body = Array.isArray(rows) ? el("tbody", {}, ...rows) : rows;
  return el("div.table", { tabindex: 0, role: "region", "aria-label": label }, el("table.runs", {}, head, body));
}

export const byId = (id) => document.getElementById(id);

/** Tell a screen reader, once, in a few words. */
export function say(text) {
  byId("said").textContent = text;
}

/** What could not be done, in words, at the bottom of the page for a while. */
export function complain(error) {
  const note = el("p.toast", { role: "alert" }, error.message ?? String(error));
  byId("toasts").append(note);
  setTimeout(() => note.remove(), 8000);
}

/** Runs `act`; what fails is told. */
export function attempt(act) {
  return async (...given) => {
    try {
      return await act(...given);
    } catch (error) {
      if (error.status !== 401) complain(error);
    }
  };
}

/** Copies, and says so on the button that was pressed. Works without a secure origin, too. */
export function copier(text) {
  const it = button("copy", "Copy", async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      const area = el("textarea", { class: "unseen" });
      document.body.append(area);
      area.value = text();
      area.select();
      document.execCommand("copy");
      area.remove();
      it.focus();
    }
    it.replaceChildren(icon("check"));
    say("Copied.");
    setTimeout(() => it.replaceChildren(icon("copy")), 1500);
  });
  return it;
}

/** Asks before something is lost. */
export function confirmed(question, verb) {
  const dialog = byId("confirm");
  dialog.querySelector("p").textContent = question;
  dialog.querySelector("[value=yes]").textContent = verb;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
