// The team at work: a run's events as phases, agents, tools and verdicts. Events go in once each and in order.

import { el } from "./dom.js";
import { AgentCard, seconds, spent, tokens } from "./agent.js";
import { kindOf } from "./request.js";
import { PHASES, Step } from "./step.js";

const ROUND = ["execution", "progress", "quality"];
const ASKED = {
  tool: "Asked for approval",
  plan: "Showed you its plan",
  question: "Asked a question",
  other: "Asked you",
};
const ENDED = { "response.completed": "Answered", error: "Failed", cancelled: "Cancelled", suspended: "Suspended" };

export class Timeline {
  constructor() {
    this.status = el("span.state");
    this.total = el("span.time");
    this.steps = el("ol.steps");
    this.node = el("div.timeline", {}, el("div.summary", {}, this.status, this.total), this.steps);
    this.reset();
  }

  reset() {
    Object.assign(this, {
      began: null,
      at: 0,
      heard: 0,
      ended: null,
      waiting: [],
      agents: [],
      asked: new Map(),
      done: [],
    });
    this.steps.replaceChildren();
    this.plan(Object.keys(PHASES));
    this.status.textContent = "Starting";
    this.total.textContent = "";
    delete this.node.dataset.state;
  }

  apply(event) {
    this.at = Date.parse(event.timestamp) || this.at;
    this.heard = performance.now();
    const act = HANDLERS[event.type];
    if (act) act.call(this, event);
    else if (event.type in ENDED) this.end(event);
  }

  plan(kinds, heading) {
    this.todo = kinds.map((kind) => new Step(kind));
    this.steps.append(...(heading ? [heading] : []), ...this.todo.map((step) => step.node));
  }

  /** Shows the passing of time; for a run that is being followed. */
  tick() {
    if (this.began == null || this.ended) return;
    const now = this.at + performance.now() - this.heard;
    this.total.textContent = seconds(now - this.began);
    const step = this.todo[0];
    if (step?.began != null) step.time.textContent = seconds(now - step.began);
    for (const card of this.agents) card.tick(now);
  }

  /** What the team is doing, in a few words. */
  get doing() {
    if (this.open) return "Waiting for you";
    const busy = this.agents.filter((card) => card.working).map((card) => card.name);
    const step = this.todo[0];
    if (busy.length) return `${busy.join(", ")} ${busy.length > 1 ? "are" : "is"} working`;
    return step ? PHASES[step.kind] : "Finishing";
  }

  get open() {
    return [...this.asked.values()].some((row) => row.dataset.state === "asking");
  }

  connected(event) {
    const resumed = Boolean(event.data?.resumed);
    if (resumed) this.resume();
    this.began ??= this.at;
    this.node.dataset.state = "working";
    this.status.textContent = "Working";
    this.todo[0]?.begin(this.at);
  }

  /** It goes on after the last phase that was finished; should it begin further back, that phase tells. */
  resume() {
    this.ended = null;
    this.waiting = [];
    for (const row of this.asked.values()) row.dataset.state = "answered";
    this.plan(
      Object.keys(PHASES).filter((kind) => !this.done.includes(kind)),
      el("li.round", {}, el("h4", {}, "Resumed")),
    );
  }

  thought(event) {
    const data = event.data ?? {};
    if (!(event.kind in PHASES)) return this.aside(event);
    if (this.done.includes(event.kind)) {
      this.done = this.done.slice(0, this.done.indexOf(event.kind));
      for (const step of this.todo) step.node.remove();
      this.plan(Object.keys(PHASES).filter((kind) => !this.done.includes(kind)));
    }
    const step = this.reach(event.kind);
    if (!step) return;
    this.done.push(event.kind);
    step.tell(event, this.at);
    if (event.kind === "routing") this.expect(data);
    this.todo.shift();
    this.todo[0]?.begin(this.at);
    this.reveal((this.todo[0] ?? step).node);
  }

  /** The step that is at hand when `kind` has come; what was passed over on the way is not shown. */
  reach(kind) {
    if (!this.todo.some((step) => step.kind === kind)) return null;
    while (this.todo[0].kind !== kind) {
      const passed = this.todo.shift();
      if (passed.more.hasChildNodes()) passed.end(this.at);
      else passed.node.remove();
    }
    if (this.todo[0].began == null) this.todo[0].begin(this.at);
    return this.todo[0];
  }

  expect({ agents = [], subtasks = {} }) {
    for (const name of agents) this.waiting.push(this.card(name, subtasks[name]));
  }

  card(name, part) {
    const card = new AgentCard(name, part);
    const step = this.todo.find((each) => each.kind === "execution");
    (step ? step.more : this.steps.lastElementChild?.querySelector(".more"))?.append(card.node);
    this.agents.push(card);
    return card;
  }

  aside(event) {
    this.reach("execution");
    const { from, to, reason } = event.data ?? {};
    const words =
      from && to
        ? [el("b", {}, from), " → ", el("b", {}, to), reason ? el("span", {}, reason) : null]
        : [event.message];
    this.note(event.kind === "handoff" ? "handoff" : "aside", words);
  }

  note(kind, words) {
    const row = el(`p.${kind}`, {}, words);
    const step = this.todo[0] ?? null;
    (step ? step.more : this.steps.lastElementChild?.querySelector(".more"))?.append(row);
    return row;
  }

  message(event) {
    const { request_id: id, request_type: type } = event.data ?? {};
    if (event.kind === "request") {
      const row = this.note("asked", [el("b", {}, ASKED[kindOf(type)])]);
      row.dataset.state = "asking";
      this.asked.set(id, row);
    } else if (event.kind === "response") {
      const row = this.asked.get(id);
      if (!row) return;
      row.dataset.state = "answered";
      row.append(el("span", {}, "answered"));
    } else if (event.kind === "refinement") this.again(event);
  }

  again(event) {
    const { round, of, missing } = event.data ?? {};
    for (const step of this.todo) step.node.remove();
    this.done = ["analysis", "routing"];
    this.waiting = [];
    this.plan(
      ROUND,
      el(
        "li.round",
        {},
        el("h4", {}, `Round ${round} of ${of}`),
        el("p", {}, missing ? `Missing: ${missing}` : event.message),
      ),
    );
    this.todo[0].begin(this.at);
    this.reveal(this.todo[0].node);
  }

  start(event) {
    this.reach("execution");
    const place = this.waiting.findIndex((card) => card.name === event.agent_id);
    const card = place < 0 ? this.card(event.agent_id) : this.waiting.splice(place, 1)[0];
    card.begin(this.at, event.message);
    this.reveal(card.node);
  }

  /** Keeps what happens in sight, unless somebody is reading elsewhere in the panel. */
  reveal(node) {
    const panel = this.node.closest("aside");
    if (!panel || panel.matches(":hover, :focus-within")) return;
    const below = node.getBoundingClientRect().bottom - panel.getBoundingClientRect().bottom;
    if (below > 0) panel.scrollTop += below + 16;
  }

  /** The card of the agent that an event comes from. */
  of(event) {
    const name = event.agent_id ?? "agent";
    const found = this.agents.findLast((card) => card.name === name && card.began != null);
    if (found) return found;
    this.start({ agent_id: name });
    return this.agents.at(-1).name === name ? this.agents.at(-1) : this.of(event);
  }

  end(event) {
    this.ended = event.type;
    const interrupted = event.kind === "interrupted"; // nobody has done anything wrong
    for (const step of this.todo) {
      if (step.node.dataset.state === "waiting" || !step.more.hasChildNodes()) step.node.remove();
      else step.stop(this.at);
    }
    for (const card of this.agents) card.stop(this.at, event.type === "error" && !interrupted);
    this.todo = [];
    this.node.dataset.state = interrupted ? "interrupted" : event.type;
    this.status.textContent = interrupted ? "Interrupted" : ENDED[event.type];
    const length = this.agents.reduce((sum, card) => sum + card.length, 0);
    const cost = spent(event.data?.usage) ?? (length ? tokens(length) : null);
    this.total.textContent = [seconds(this.at - this.began), cost].filter(Boolean).join(" · ");
    if (event.type === "error")
      this.steps.append(
        el("li.step", { "data-state": interrupted ? "stopped" : "failed" }, el("p.words", {}, event.error)),
      );
  }
}

function grow(event) {
  this.of(event).write(event.delta ?? "");
}

const HANDLERS = {
  connected: Timeline.prototype.connected,
  "orchestrator.thought": Timeline.prototype.thought,
  "orchestrator.message": Timeline.prototype.message,
  "agent.start": Timeline.prototype.start,
  "agent.delta": grow,
  "response.delta": grow,
  "agent.output"(event) {
    this.of(event).settle(event.message ?? "");
  },
  "agent.message"(event) {
    this.of(event).settle(event.message ?? "");
  },
  "agent.complete"(event) {
    this.of(event).end(this.at, event.error, event.data?.usage);
  },
  "reasoning.delta"(event) {
    this.of(event).think(event.reasoning ?? "");
  },
  "tool.call"(event) {
    this.of(event).call(event.data ?? {}, this.at);
  },
  "tool.result"(event) {
    this.of(event).result(event.data ?? {}, event.error, this.at);
  },
};
