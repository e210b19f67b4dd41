// The conversation in the middle: its turns, the run that is being followed, and the team's panel beside it.

import { ask, events, get, post } from "./api.js";
import { attempt, byId, complain, el, icon, say } from "./dom.js";
import { Composer } from "./composer.js";
import { sequence, Stream } from "./stream.js";
import { Turn } from "./turn.js";

const EXAMPLES = [
  ["Compare heat pumps and gas heating", "parallel"],
  ["Write a short mail asking my landlord to fix the heating", "delegated"],
  ["Explain how a fridge works, then once more for a child", "sequential"],
  ["Should a small team write its tests first?", "discussion"],
];

export class Chat {
  /** `moved` is called with a conversation's id when the list may have changed, `lost` while a stream is broken. */
  constructor({ moved, lost }) {
    Object.assign(this, { moved, lost, id: null, turns: [], shown: null, stream: null, visit: 0 });
    this.list = byId("turns");
    this.scroller = byId("scroller");
    this.composer = new Composer({ send: (words) => this.send(words), stop: () => this.stop() });
    this.latest = byId("latest");
    this.latest.append(icon("down"));
    this.latest.onclick = () => this.scroll(true);
    this.scroller.onscroll = () => this.noticed();
    new ResizeObserver(() => this.follows && this.scroll(true)).observe(this.list);
    setInterval(() => this.shown?.live && !document.hidden && this.shown.tick(), 250);
    this.follows = true;
    const acts = {
      retry: attempt((turn) =>
        this.send({ ...this.composer.wishes, message: turn.question, mode: turn.mode ?? "auto" }),
      ),
      resume: attempt((turn) => this.resume(turn)),
      show: (turn) => this.show(turn, true),
    };
    this.acts = acts;
  }

  /** Shows a conversation; null is one that does not exist yet. */
  open(id) {
    if (id === this.id && id !== null) return this.opening;
    return (this.opening = this.load(id));
  }

  async load(id) {
    const visit = ++this.visit;
    this.leave();
    this.id = id;
    this.composer.focus();
    if (id === null) return this.greet();
    this.list.setAttribute("aria-busy", "true");
    const [found, runs] = await Promise.all([
      get(`api/v1/conversations/${id}`),
      get(`api/v1/runs?conversation_id=${id}&limit=100`),
    ]);
    if (visit !== this.visit) return;
    this.list.removeAttribute("aria-busy");
    this.fill(found.messages, new Map(runs.map((run) => [run.run_id, run])));
    this.scroll(true);
    const last = this.turns.at(-1);
    if (!last?.run) return;
    this.show(last);
    if (last.live || last.status === "suspended") this.follow(last);
  }

  reopen() {
    const id = this.id;
    this.id = undefined;
    return this.open(id);
  }

  /** Shows what was asked here elsewhere, when nothing is being followed. */
  async catchUp() {
    const { id, stream } = this;
    if (!id || stream || this.composer.busy) return;
    const [newest] = await get(`api/v1/runs?conversation_id=${id}&limit=1`);
    const last = this.turns.at(-1);
    if (newest && id === this.id && !this.stream && (newest.run_id !== last?.run || newest.status !== last.status))
      await this.reopen();
  }

  leave() {
    this.stream?.close();
    this.stream = null;
    this.turns = [];
    this.follows = true;
    this.list.replaceChildren();
    this.show(null);
    this.composer.working(false);
  }

  greet() {
    const examples = EXAMPLES.map(([message, mode]) =>
      el(
        "li",
        {},
        el(
          "button.example",
          { type: "button", onclick: () => this.composer.send({ ...this.composer.wishes, message, mode }) },
          message,
          el("span.tag", {}, mode),
        ),
      ),
    );
    this.list.replaceChildren(
      el(
        "div.greeting",
        {},
        el("h2", {}, "What should the team do?"),
        el("p", {}, "A planner picks the agents and the way they work. You see every step on the way to the answer."),
        el("ul.examples", {}, examples),
      ),
    );
  }

  fill(messages, runs) {
    for (const message of messages) {
      const run = message.workflow_id;
      let turn = this.turns.at(-1);
      if (message.role === "user") turn = this.add(message.content);
      else if (!turn || turn.run !== run || turn.settled) turn = this.add(null);
      turn.run = run;
      if (message.role === "assistant") turn.settle(message);
      const state = runs.get(run);
      if (state && message.role === "user") turn.know(state);
    }
  }

  add(question) {
    const turn = new Turn(question, this.acts);
    this.turns.push(turn);
    this.list.append(turn.node);
    return turn;
  }

  async send(words) {
    await this.opening;
    if (this.turns.at(-1)?.live) throw new Error("The team is still at work here: stop it first.");
    const { visit } = this;
    let { id } = this;
    if (id === null) {
      id = (await post("api/v1/conversations", { title: words.message.trim().split(/\s+/).join(" ").slice(0, 60) })).id;
      if (visit === this.visit) {
        this.id = id;
        this.list.replaceChildren();
        history.replaceState(null, "", `#/c/${id}`);
      }
      this.moved(id);
    }
    let state;
    try {
      state = await ask(id, words);
    } catch (problem) {
      if (problem.status === 409) this.reopen(); // somebody has asked here meanwhile
      throw problem;
    }
    this.moved(id);
    if (this.id !== id || this.turns.some((turn) => turn.run === state.run_id)) return;
    const turn = this.add(words.message);
    turn.know(state);
    this.show(turn);
    this.scroll(true);
    this.follow(turn);
    say("The team is at work.");
  }

  follow(turn) {
    this.stream?.close();
    this.composer.working(turn.live);
    this.stream = new Stream(turn.run, turn.seq, {
      lost: this.lost,
      hear: (event) => {
        turn.seq = this.stream.seq;
        turn.apply(event);
        if (event.type === "connected") this.composer.working(true);
        if (!turn.live) this.composer.working(false);
      },
      over: (state) => this.over(turn, state),
    });
  }

  over(turn, state) {
    this.stream = null;
    this.composer.working(false);
    if (state && state.status !== turn.status) turn.know(state);
    for (const request of turn.requests.values()) {
      if (request.open) request.node.addEventListener("shut", () => this.stream || this.follow(turn), { once: true });
    }
    this.moved(this.id);
  }

  async stop() {
    const turn = this.turns.at(-1);
    if (turn?.run) await post(`api/v1/runs/${turn.run}/cancel`);
  }

  async resume(turn) {
    const state = await post(`api/v1/runs/${turn.run}/resume`);
    if (!turn.seq) turn.seq = 0;
    turn.know(state);
    this.show(turn);
    this.follow(turn);
  }

  /** The team's panel shows this turn; what the log has of it is read when it was not followed. */
  async show(turn, asked = false) {
    this.shown = turn;
    for (const each of this.turns) each.node.classList.toggle("shown", each === turn);
    byId("team-work").replaceChildren(turn ? turn.timeline.node : el("p.empty", {}, "The team’s steps appear here."));
    if (asked) document.dispatchEvent(new Event("show-team"));
    if (!turn || turn.seq || turn.live || turn.status === "suspended" || !turn.run) return;
    try {
      const found = await events(turn.run);
      if (turn.seq) return;
      for (const event of found) turn.timeline.apply(event);
      turn.seq = sequence(found.at(-1)?.id);
    } catch (problem) {
      if (problem.status !== 404) complain(problem);
    }
  }

  noticed() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.follows = scrollHeight - scrollTop - clientHeight < 60;
    this.latest.hidden = this.follows;
  }

  scroll(down) {
    if (!down) return;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.follows = true;
    this.latest.hidden = true;
  }
}
