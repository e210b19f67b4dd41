// The page: who is here, which view is shown, and what the panels at the sides do.

import { agents } from "./agents.js";
import { history } from "./history.js";
import { learning } from "./learning.js";
import { get, post, session } from "./api.js";
import { Chat } from "./chat.js";
import { Conversations } from "./conversations.js";
import { attempt, button, byId, complain, el, icon, say } from "./dom.js";

const PANELS = ["list", "team"];
const VIEWS = { agents, history, learning };
const banner = byId("banner");
let chat, conversations, patience;
let visit = 0; // counts what was gone to: what comes late is not shown over what is wanted now

function lost(isLost) {
  clearTimeout(patience);
  if (!isLost) banner.hidden = true;
  else if (banner.hidden) {
    patience = setTimeout(() => {
      banner.hidden = false;
      say("Connection lost. Reconnecting.");
    }, 600);
  }
}

/** The address says what is shown: #/c/ID, #/agents, or nothing for a new conversation. */
const route = attempt(async () => {
  const mine = ++visit;
  const [, view, id] = location.hash.split("/");
  for (const which of PANELS) panel(which, false);
  const page = VIEWS[view];
  document.body.dataset.view = page ? view : "chat";
  byId("chat").hidden = Boolean(page);
  byId("page").hidden = !page;
  for (const link of document.querySelectorAll("nav a")) {
    link[link.hash === `#/${view}` ? "setAttribute" : "removeAttribute"]("aria-current", "page");
  }
  conversations.choose(!page && view === "c" ? id : null);
  if (page) {
    titled(view[0].toUpperCase() + view.slice(1));
    const found = await page(id).catch(unread);
    if (mine !== visit) return;
    byId("page").replaceChildren(...found);
    return byId("page").focus();
  }
  try {
    await chat.open(view === "c" ? id : null);
  } catch (problem) {
    if (mine !== visit) return;
    if (problem.status !== 404) throw problem;
    complain(new Error("There is no such conversation."));
    location.replace("#/");
  }
  if (mine === visit) name();
});

/** What stands in place of a page that could not be read. */
const unread = (problem) => [
  el("p.failed", { role: "alert" }, problem.message),
  button("retry", "Try again", route, { shown: true }),
];

function name() {
  titled(conversations.title(chat.id) ?? "New chat");
}

function titled(text) {
  byId("title").textContent = text;
  document.title = `${text} · AgenticFleet`;
}

/** Opens or closes a panel at the side: "list" or "team". On a wide screen both are always there. */
function panel(which, open) {
  document.body.classList.toggle(`show-${which}`, open);
  byId(`${which}-toggle`).setAttribute("aria-expanded", String(open));
  if (open) byId(which).querySelector("a, button").focus();
}

function start(caller) {
  byId("sign-in").hidden = true;
  byId("app").hidden = false;
  byId("sign-out").hidden = caller === "local";
  byId("caller").textContent = caller === "local" ? "" : caller;
  chat = new Chat({
    lost,
    moved: attempt(async (id) => {
      await conversations.refresh();
      if (id !== chat.id) return;
      conversations.choose(id);
      if (!VIEWS[document.body.dataset.view]) name();
    }),
  });
  conversations = new Conversations({ gone: (id) => id === chat.id && (location.hash = "#/") });
  addEventListener("hashchange", route);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) Promise.all([conversations.refresh(), chat.catchUp()]).catch(() => {}); // nobody has asked for it
  });
  document.addEventListener("renamed", name);
  document.addEventListener("show-team", () => panel("team", true));
  for (const which of PANELS) {
    byId(`${which}-toggle`).onclick = () => panel(which, !document.body.classList.contains(`show-${which}`));
    byId(`${which}-close`).onclick = () => {
      panel(which, false);
      byId(`${which}-toggle`).focus();
    };
  }
  const close = () => PANELS.forEach((which) => panel(which, false));
  byId("veil").onclick = close;
  addEventListener("keydown", (press) => press.key === "Escape" && close());
  attempt(() => conversations.refresh())().then(() => VIEWS[document.body.dataset.view] || name());
  route();
}

function signIn() {
  byId("app").hidden = true;
  byId("sign-in").hidden = false;
  document.title = "Sign in · AgenticFleet";
  const key = byId("key");
  key.focus();
  byId("sign-in").onsubmit = async (event) => {
    event.preventDefault();
    byId("refused").textContent = "";
    try {
      await post("api/v1/sign-in", { key: key.value.trim() });
      location.reload();
    } catch (problem) {
      byId("refused").textContent = problem.message;
      key.select();
    }
  };
}

byId("sign-out").onclick = attempt(async () => {
  await post("api/v1/sign-out");
  location.assign("#/");
  location.reload();
});
for (const node of document.querySelectorAll("[data-icon]")) node.prepend(icon(node.dataset.icon));

async function begin() {
  try {
    const { caller } = await get("api/v1/caller");
    session.addEventListener("ended", signIn);
    start(caller);
  } catch (problem) {
    if (problem.status === 401) return signIn();
    lost(true);
    setTimeout(begin, 2000);
    return;
  }
  lost(false);
}

begin();
