// Runs that were: a table to look through, and each run played again from its log.

import { events, get } from "./api.js";
import { seconds } from "./agent.js";
import { attempt, button, el, icon } from "./dom.js";
import { Markdown } from "./markdown.js";
import { Timeline } from "./timeline.js";

const PAGE = 25;
const STATUSES = ["completed", "failed", "cancelled", "interrupted", "suspended", "waiting", "running"];
const STILL = 1200; // milliseconds that a silence lasts at most when a run is played

export const history = (id) => (id ? detail(id) : table());

async function table() {
  const rows = el("tbody");
  const status = el("select", { id: "status" }, el("option", { value: "" }, "any state"), STATUSES.map((each) => el("option", { value: each }, each)));
  const words = el("input", { id: "words", type: "search", placeholder: "Words of the question" });
  const more = button(null, "Show more", attempt(() => fill(false)), { shown: true });
  const none = el("p.empty", {}, "No runs.");
  let count = 0;
  const filter = () => {
    const wanted = words.value.trim().toLowerCase();
    for (const row of rows.children) row.hidden = !row.dataset.task.includes(wanted);
    none.hidden = [...rows.children].some((row) => !row.hidden);
  };
  const fill = async (anew) => {
    if (anew) count = 0;
    const found = await get(`api/v1/runs?limit=${PAGE}&offset=${count}${status.value && `&status=${status.value}`}`);
    if (anew) rows.replaceChildren();
    rows.append(...found.map(line));
    count += found.length;
    more.hidden = found.length < PAGE;
    filter();
  };
  words.oninput = filter;
  status.onchange = attempt(() => fill(true));
  await fill(true);
  const heads = ["When", "Question", "Mode", "State", "Quality", "Time"];
  return [
    el("h2", {}, "History"),
    el("div.filter", {}, el("label.unseen", { for: "words" }, "Words"), words, el("label.unseen", { for: "status" }, "State"), status),
    el("div.table", { tabindex: 0, role: "region", "aria-label": "Runs" }, el("table.runs", {}, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), rows)),
    none,
    more,
  ];
}

function line(run) {
  const task = run.task.trim().replace(/\s+/g, " ");
  return el(
    "tr",
    { "data-task": task.toLowerCase() },
    el("td", {}, when(run.created_at)),
    el("td", {}, el("a", { href: `#/history/${run.run_id}` }, task.length > 90 ? `${task.slice(0, 90)}…` : task)),
    el("td", {}, run.mode),
    el("td", { "data-state": run.status }, el("b", {}, run.status)),
    el("td", {}, run.quality_score == null ? "" : `${run.quality_score}`),
    el("td", {}, spent(run)),
  );
}

const when = (time) => el("time", { datetime: time }, new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }));
const spent = (run) => (run.completed_at ? seconds(Date.parse(run.completed_at) - Date.parse(run.started_at ?? run.created_at)) : "");

async function detail(id) {
  const [run, log] = await Promise.all([get(`api/v1/runs/${id}`), events(id)]);
  const replay = new Replay(log);
  const facts = { Asked: when(run.created_at), State: run.status, Mode: run.mode, Time: spent(run), Quality: run.quality_score ?? "", Run: el("code", {}, id) };
  return [
    el("p", {}, el("a", { href: "#/history" }, "← History")),
    el("h2", {}, run.task.length > 200 ? `${run.task.slice(0, 200)}…` : run.task),
    el("dl.checks", {}, Object.entries(facts).flatMap(([name, fact]) => (fact === "" ? [] : [el("dt", {}, name), el("dd", {}, fact)]))),
    el("p", {}, el("a", { href: `#/c/${run.conversation_id}` }, "Open the conversation")),
    replay.node,
  ];
}

/** A run's log, shown up to any of its events, and played at its own pace. */
class Replay {
  constructor(log) {
    this.log = log;
    this.timeline = new Timeline();
    const body = el("div.markdown");
    this.markdown = new Markdown(body);
    this.slider = el("input", { type: "range", min: 0, max: log.length, "aria-label": "Event" });
    this.place = el("span.time");
    this.press = button("play", "Play", () => (this.timer ? this.stop() : this.play()));
    this.slider.oninput = () => {
      this.stop();
      this.show(Number(this.slider.value));
    };
    this.node = el("section.replay", { "aria-label": "Replay" }, el("div.controls", {}, this.press, this.slider, this.place), el("div.columns", {}, body, this.timeline.node));
    this.show(log.length);
  }

  show(count) {
    if (count < this.at || this.at === undefined) {
      this.at = 0;
      this.timeline.reset();
      this.markdown.reset();
    }
    while (this.at < count) this.apply(this.log[this.at++]);
    this.slider.value = this.at;
    this.slider.setAttribute("aria-valuetext", `${this.at} of ${this.log.length}`);
    this.place.textContent = `${this.at} of ${this.log.length} events`;
  }

  apply(event) {
    this.timeline.apply(event);
    if (event.type === "connected" || event.kind === "refinement") this.markdown.reset();
    else if (event.type === "response.delta") this.markdown.append(event.delta ?? "");
    else if (event.type === "response.completed") this.markdown.set(event.message ?? "");
  }

  play() {
    if (this.at === this.log.length) this.show(0);
    this.look("pause", "Pause");
    this.next();
  }

  next() {
    this.show(this.at + 1);
    if (this.at === this.log.length || !this.node.isConnected) return this.stop();
    const gap = Date.parse(this.log[this.at].timestamp) - Date.parse(this.log[this.at - 1].timestamp);
    this.timer = setTimeout(() => this.next(), Math.min(gap || 0, STILL));
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.look("play", "Play");
  }

  look(name, label) {
    this.press.replaceChildren(icon(name));
    this.press.title = label;
    this.press.setAttribute("aria-label", label);
  }
}
