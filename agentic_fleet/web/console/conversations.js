// The list on the left: conversations, newest first, each to open, rename or delete.

import { call, get } from "./api.js";
import { attempt, byId, button, confirmed, el, say } from "./dom.js";

const PAGE = 25;

export class Conversations {
  /** `gone` is called with the id of one that was deleted. */
  constructor({ gone }) {
    Object.assign(this, { gone, current: null, wanted: PAGE, found: [] });
    this.list = byId("conversations");
    this.more = byId("more");
    this.more.onclick = attempt(() => {
      this.wanted += PAGE;
      return this.refresh();
    });
  }

  async refresh() {
    const found = [];
    while (found.length < this.wanted) {
      const page = await get(`api/v1/conversations?limit=${PAGE}&offset=${found.length}`);
      found.push(...page);
      if (page.length < PAGE) break;
    }
    this.found = found;
    this.more.hidden = found.length < this.wanted;
    this.draw();
  }

  choose(id) {
    this.current = id;
    for (const row of this.list.children) mark(row, row.dataset.id === id);
  }

  title(id) {
    return this.found.find((each) => each.id === id)?.title;
  }

  draw() {
    if (this.list.querySelector("input")) return; // a name is being written
    const focused = document.activeElement?.closest?.("#conversations li")?.dataset.id;
    this.list.replaceChildren(...this.found.map((each) => this.row(each)));
    if (focused)
      [...this.list.children]
        .find((row) => row.dataset.id === focused)
        ?.querySelector("a")
        .focus();
    byId("none").hidden = this.found.length > 0;
  }

  row({ id, title }) {
    const row = el("li", { "data-id": id }, el("a", { href: `#/c/${id}`, title }, title));
    row.append(
      el(
        "span.acts",
        {},
        button("edit", `Rename ${title}`, () => this.rename(row, id, title), { kind: "quiet" }),
        button(
          "trash",
          `Delete ${title}`,
          attempt(() => this.drop(id, title)),
          { kind: "quiet" },
        ),
      ),
    );
    mark(row, id === this.current);
    return row;
  }

  rename(row, id, title) {
    const input = el("input", { "aria-label": "New title", maxlength: 200, value: title });
    let over = false;
    const leave = attempt(async (keep) => {
      if (over) return;
      over = true;
      input.remove();
      try {
        if (keep && input.value.trim() && input.value !== title) {
          await call("PATCH", `api/v1/conversations/${id}`, { title: input.value.trim() });
          this.found = this.found.map((each) => (each.id === id ? { ...each, title: input.value.trim() } : each));
          say("Renamed.");
          document.dispatchEvent(new Event("renamed"));
        }
      } finally {
        this.draw();
        [...this.list.children]
          .find((each) => each.dataset.id === id)
          ?.querySelector("a")
          .focus();
      }
    });
    input.onkeydown = (press) => {
      if (press.key === "Enter" && !press.isComposing) leave(true);
      if (press.key === "Escape") {
        press.stopPropagation();
        leave(false);
      }
    };
    input.onblur = () => leave(true);
    row.replaceChildren(input);
    input.select();
  }

  async drop(id, title) {
    if (!(await confirmed(`Delete “${title}” with all its answers?`, "Delete"))) return;
    try {
      await call("DELETE", `api/v1/conversations/${id}`);
    } catch (problem) {
      if (problem.status !== 404) throw problem;
    }
    this.found = this.found.filter((each) => each.id !== id);
    this.draw();
    say("Deleted.");
    this.gone(id);
    byId("new").focus();
  }
}

function mark(row, current) {
  row.querySelector("a")?.[current ? "setAttribute" : "removeAttribute"]("aria-current", "page");
}
