// One phase of one round: waiting, working, then done, with what it found.

import { seconds, spent } from "./agent.js";
import { el } from "./dom.js";

export const PHASES = {
  analysis: "Analysis",
  routing: "Routing",
  execution: "Execution",
  progress: "Progress",
  quality: "Quality",
};

export class Step {
  constructor(kind) {
    this.kind = kind;
    this.words = el("p.words");
    this.time = el("span.time");
    this.more = el("div.more");
    this.state = el("span.unseen");
    this.node = el(
      `li.step.${kind}`,
      {},
      el("div.head", {}, el("h4", {}, PHASES[kind], this.state), this.time),
      this.words,
      this.more,
    );
    this.set("waiting");
  }

  set(state) {
    this.node.dataset.state = state;
    this.state.textContent = `, ${state}`;
  }

  begin(at) {
    this.began ??= at;
    this.set("working");
  }

  /** What the phase has found. */
  tell(event, at) {
    const data = event.data ?? {};
    this.end(at, event.message, data.usage);
    this.more.append(...details(this.kind, data));
    if (this.kind === "quality" && event.quality_score != null) {
      this.more.append(meter(event.quality_score, event.quality_flag));
    }
  }

  /** The run has ended, and this phase had not. */
  stop(at) {
    this.end(at);
    this.set("stopped");
  }

  end(at, words, usage) {
    this.set("done");
    if (words) this.words.textContent = words;
    if (this.began != null)
      this.time.textContent = [seconds(at - this.began), spent(usage)].filter(Boolean).join(" · ");
  }
}

function details(kind, data) {
  const words = [];
  if (data.complexity) words.push(data.complexity);
  if (data.mode) words.push(data.mode);
  if (data.verdict) words.push(data.verdict);
  if (data.decided_by) words.push(`by ${data.decided_by}${data.cached ? ", seen before" : ""}`);
  const found = words.length
    ? [
        el(
          "p.tags",
          {},
          words.map((word) => el("span.tag", {}, word)),
        ),
      ]
    : [];
  if (kind === "routing" && (data.reason || data.steps?.length)) {
    found.push(
      el(
        "details",
        {},
        el("summary", {}, "Why and how"),
        data.reason ? el("p", {}, data.reason) : null,
        data.steps?.length
          ? el(
              "ol",
              {},
              data.steps.map((step) => el("li", {}, step)),
            )
          : null,
      ),
    );
  }
  for (const [name, problem] of Object.entries(data.failed ?? {}))
    found.push(el("p.failed", {}, el("b", {}, name), ` ${problem}`));
  return found;
}

function meter(score, flag) {
  const bar = el("meter", { min: 0, max: 10, low: 5, high: 6, optimum: 10, value: score, "aria-label": "Quality" });
  return el(
    "p.meter",
    {},
    bar,
    el("b", {}, `${score}/10`),
    flag ? el("span.tag", {}, flag.replaceAll("_", " ")) : null,
  );
}
