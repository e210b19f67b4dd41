// One question and its answer: the answer as it grows, what the team asks meanwhile, and what can be done afterwards.

import { get, post } from "./api.js";
import { attempt, button, copier, el, say } from "./dom.js";
import { Markdown } from "./markdown.js";
import { Request } from "./request.js";
import { Timeline } from "./timeline.js";

const LIVE = new Set(["created", "running", "waiting"]);
const RESUMABLE = new Set(["failed", "cancelled", "interrupted", "suspended"]);
const WORDS = {
  failed: "The run failed.",
  cancelled: "Stopped.",
  interrupted: "The service stopped before the answer was complete.",
  suspended: "Suspended until its question is answered.",
};

export class Turn {
  /** `acts`: {retry, resume, show} get this turn. */
  constructor(question, acts) {
    Object.assign(this, {
      question,
      acts,
      run: null,
      status: null,
      seq: 0,
      requests: new Map(),
      timeline: new Timeline(),
    });
    this.body = el("div.markdown");
    this.markdown = new Markdown(this.body);
    this.who = el("span.author", {}, "Team");
    this.now = el("span.now");
    this.told = el("div.requests");
    this.open = el("div.requests");
    this.foot = el("div.foot");
    const asked =
      question == null ? null : el("div.question", {}, el("h3.unseen", {}, "Question"), el("p", {}, question));
    this.work = button("team", "Show the team’s work", () => acts.show(this), { kind: "quiet" });
    const head = el("div.who", {}, el("h3", {}, this.who), this.now, this.work);
    this.answer = el("div.answer", {}, head, this.told, this.body, this.open, this.foot);
    this.node = el("article.turn", {}, asked, this.answer);
    this.answer.hidden = true;
  }

  get live() {
    return LIVE.has(this.status);
  }

  /** An answer that is known already. */
  settle(message) {
    this.answer.hidden = false;
    this.settled = true;
    this.status = "completed";
    this.who.textContent = message.author ?? "Team";
    this.score = message.quality_score;
    this.flag = message.quality_flag;
    this.markdown.set(message.content);
    this.finish();
  }

  /** What is known of its run. */
  know(state) {
    this.run = state.run_id;
    this.mode = state.mode;
    this.status = state.status;
    this.error = state.error;
    this.answer.hidden = false;
    if (this.live) this.node.dataset.state = "live";
    else this.finish();
  }

  apply(event) {
    this.timeline.apply(event);
    HANDLERS[event.type]?.call(this, event);
    if (this.live) this.now.textContent = this.timeline.doing;
  }

  tick() {
    this.timeline.tick();
  }

  /** A better version follows; the one before stays until its first word. */
  again() {
    this.fresh = true;
    this.body.classList.add("old");
  }

  write(delta) {
    if (this.fresh) {
      this.fresh = false;
      this.body.classList.remove("old");
      this.markdown.reset();
    }
    this.markdown.append(delta);
  }

  ask(event) {
    const request = new Request(this.run, event.data);
    if (this.requests.has(request.id)) return;
    this.status = "waiting";
    this.requests.set(request.id, request);
    this.open.append(request.node);
    request.node.addEventListener("shut", () => this.told.append(request.node));
    say(`The team asks: ${event.message}`);
  }

  answered({ request_id: id, response }) {
    this.requests.get(id)?.answered(response);
    if (this.status === "waiting" && ![...this.requests.values()].some((request) => request.open))
      this.status = "running";
  }

  end(event) {
    this.fresh = false;
    this.body.classList.remove("old");
    this.error = event.error;
    this.status =
      { "response.completed": "completed", error: event.kind === "interrupted" ? "interrupted" : "failed" }[
        event.type
      ] ?? event.type;
    if (event.type === "response.completed") {
      this.who.textContent = event.author ?? "Team";
      this.score = event.quality_score;
      this.flag = event.quality_flag;
      this.markdown.set(event.message ?? "");
    } else this.markdown.draw();
    if (this.status !== "suspended") for (const request of this.requests.values()) request.shut("Not asked any more.");
    this.finish();
    say(this.status === "completed" ? "The answer is complete." : WORDS[this.status]);
  }

  /** What stands below an answer that has come to its end. */
  finish() {
    this.now.textContent = "";
    this.node.dataset.state = this.status;
    const done = this.status === "completed";
    const words = done
      ? null
      : el(this.status === "failed" ? "p.failed" : "p.note", {}, this.error ?? WORDS[this.status]);
    const copy = this.markdown.text ? copier(() => this.markdown.text) : null;
    const retry =
      this.question == null ? null : button("retry", "Try again", () => this.acts.retry(this), { shown: !done });
    const resume =
      RESUMABLE.has(this.status) && this.run
        ? button("play", "Go on", () => this.acts.resume(this), { shown: true })
        : null;
    this.verdict = el("span.score", { title: "Quality" });
    const thumbs = done && this.run ? ["up", "down"].map((thumb) => this.thumb(thumb)) : [];
    this.foot.replaceChildren(
      ...[words, el("div.acts", {}, copy, retry, resume, thumbs, this.verdict)].filter(Boolean),
    );
    this.judge(this.score, this.flag);
    if (done && this.run && this.score == null) this.wait([2000, 8000]);
  }

  judge(score, flag) {
    Object.assign(this, { score, flag });
    this.verdict.textContent =
      score == null ? "" : [`${score}/10`, flag?.replaceAll("_", " ")].filter(Boolean).join(" ");
  }

  /** What a human thinks of the answer; the last word counts. */
  thumb(which) {
    const press = attempt(async () => {
      const told = await post(`api/v1/runs/${this.run}/feedback`, { thumb: which });
      for (const each of this.foot.querySelectorAll("[aria-pressed]"))
        each.setAttribute("aria-pressed", String(each === made));
      this.judge(told.quality_score, told.quality_flag);
      say("Thank you.");
    });
    const made = button("up", which === "up" ? "Good answer" : "Bad answer", press, { kind: `plain.${which}` });
    made.setAttribute("aria-pressed", "false");
    return made;
  }

  /** Some scores come late. */
  wait([first, ...rest]) {
    setTimeout(async () => {
      if (!this.node.isConnected || this.score != null) return;
      const state = await get(`api/v1/runs/${this.run}`).catch(() => null);
      if (state?.quality_score != null) this.judge(state.quality_score, this.flag);
      else if (rest.length) this.wait(rest);
    }, first);
  }
}

const HANDLERS = {
  connected(event) {
    this.status = "running";
    this.node.dataset.state = "live";
    this.answer.hidden = false;
    this.foot.replaceChildren();
    if (!event.data?.resumed) return;
    this.again();
    for (const [id, request] of this.requests) {
      if (request.open || request.told) continue;
      request.node.remove();
      this.requests.delete(id);
    }
  },
  "response.delta"(event) {
    this.who.textContent = event.agent_id ?? event.author ?? "Team";
    this.write(event.delta ?? "");
  },
  "orchestrator.message"(event) {
    if (event.kind === "request") this.ask(event);
    else if (event.kind === "response") this.answered(event.data ?? {});
    else if (event.kind === "refinement") this.again();
  },
  "response.completed": Turn.prototype.end,
  error: Turn.prototype.end,
  cancelled: Turn.prototype.end,
  suspended: Turn.prototype.end,
};
