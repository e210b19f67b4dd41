// Runs that were: a table to look through, and each run played again from its log.

import { seconds, spent } from "./agent.js";
import { call, events, get } from "./api.js";
import { attempt, button, confirmed, el, icon, table } from "./dom.js";
import { Markdown } from "./markdown.js";
import { Timeline } from "./timeline.js";

const PAGE = 25;
const STATUSES = ["completed", "failed", "cancelled", "interrupted", "suspended"];
const STILL = 1200; // milliseconds that a silence lasts at most when a run is played

export const history = (id) => (id ? detail(id) : overview());

async function overview() {
  const rows = el("tbody");
  const status = el(
    "select",
    { id: "status" },
    el("option", { value: "" }, "any state"),
    STATUSES.map((each) => el("option", { value: each }, each)),
  );
  const words = el("input", { id: "words", type: "search", placeholder: "Words of the question, an agent, a mode" });
  const more = button(
    null,
    "Show more",
    attempt(() => fill()),
    { shown: true },
  );
  const none = el("p.empty", {}, "No runs.");
  const forget = button(
    "trash",
    "Forget all",
    attempt(async () => {
      if (!(await confirmed("Forget what all your runs did? The conversations stay.", "Forget"))) return;
      await call("DELETE", "api/v1/history");
      rows.replaceChildren();
      more.hidden = true;
      filter();
    }),
    { shown: true },
  );
  const filter = () => {
    const wanted = words.value.trim().toLowerCase();
    for (const row of rows.children)
      row.hidden = !row.dataset.words.includes(wanted) || (status.value && row.dataset.status !== status.value);
    none.hidden = [...rows.children].some((row) => !row.hidden);
  };
  const fill = async () => {
    const found = await get(`api/v1/history?limit=${PAGE}&offset=${rows.children.length}`);
    rows.append(...found.map(line));
    more.hidden = found.length < PAGE;
    filter();
  };
  words.oninput = filter;
  status.onchange = filter;
  await fill();
  return [
    el("h2", {}, "History"),
    el(
      "div.filter",
      {},
      el("label.unseen", { for: "words" }, "Words"),
      words,
      el("label.unseen", { for: "status" }, "State"),
      status,
    ),
    table("Runs", ["When", "Question", "Team", "State", "Quality", "Time"], rows),
    none,
    el("div.buttons", {}, more, forget),
  ];
}

function line(run) {
  const task = run.task.trim().replace(/\s+/g, " ");
  const team = [run.routing.selected_agents.join(", "), run.routing.execution_mode ?? run.mode]
    .filter(Boolean)
    .join(" · ");
  return el(
    "tr",
    { "data-words": `${task} ${team}`.toLowerCase(), "data-status": run.status },
    el("td", {}, when(run.created_at)),
    el("td.wide", {}, el("a", { href: `#/history/${run.workflow_id}` }, short(task, 90))),
    el("td", {}, team),
    el("td", { "data-state": run.status }, el("b", {}, run.status)),
    el("td", { "data-label": "quality" }, quality(run)),
    el("td", {}, run.latency == null ? "" : seconds(run.latency * 1000)),
  );
}

export const short = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);
export const when = (time) =>
  el("time", { datetime: time }, new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }));
const quality = ({ quality: { score, by } }) => (score == null ? "" : `${score}${by === "human" ? " by you" : ""}`);

async function detail(id) {
  const [run, log] = await Promise.all([get(`api/v1/history/${id}`), events(id)]);
  const replay = new Replay(log);
  const facts = {
    Asked: when(run.created_at),
    State: run.status,
    Team: run.routing.selected_agents.join(", "),
    Mode: [run.routing.execution_mode ?? run.mode, run.routing.decided_by && `by ${run.routing.decided_by}`]
      .filter(Boolean)
      .join(", "),
    Time: run.latency == null ? "" : seconds(run.latency * 1000),
    Tokens: spent(run.metadata.usage) ?? "",
    Quality: quality(run),
    Missing: run.quality.improvements ?? "",
    Run: el("code", {}, id),
  };
  const forget = button(
    "trash",
    "Forget",
    attempt(async () => {
      if (!(await confirmed("Forget what this run did? Its conversation stays.", "Forget"))) return;
      await call("DELETE", `api/v1/history/${id}`);
      location.hash = "#/history";
    }),
    { shown: true },
  );
  const talk = run.conversation_id && el("a", { href: `#/c/${run.conversation_id}` }, "Open the conversation");
  return [
    el("p", {}, el("a", { href: "#/history" }, "← History")),
    el("h2", {}, short(run.task, 200)),
    el(
      "dl.checks",
      {},
      Object.entries(facts).flatMap(([name, fact]) => (fact === "" ? [] : [el("dt", {}, name), el("dd", {}, fact)])),
    ),
    el("div.buttons", {}, talk, forget),
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
    this.node = el(
      "section.replay",
      { "aria-label": "Replay" },
      el("div.controls", {}, this.press, this.slider, this.place),
      el("div.columns", {}, body, this.timeline.node),
    );
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
