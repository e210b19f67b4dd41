// One agent's part of a run: what it is to do, what it says and thinks, and the tools it uses.

import { el } from "./dom.js";

const SHOWN = { waiting: "waiting", working: "working", done: "done", failed: "failed", stopped: "stopped" };

export class AgentCard {
  constructor(name, part) {
    this.name = name;
    this.state = el("span.state");
    this.time = el("span.time");
    this.part = el("p.part", {}, part ?? "");
    this.tools = el("ul.tools");
    this.calls = new Map();
    this.length = 0;
    const head = el(
      "div.head",
      {},
      el("span.face", { "aria-hidden": "true" }, name.slice(0, 1).toUpperCase()),
      el("b", {}, name),
      this.state,
      this.time,
    );
    this.node = el("section.agent", { "aria-label": name }, head, this.part, this.tools);
    this.set("waiting");
  }

  get working() {
    return this.node.dataset.state === "working";
  }

  set(state) {
    this.node.dataset.state = state;
    this.state.textContent = SHOWN[state];
  }

  begin(at, part) {
    this.began = at;
    if (part) this.part.textContent = part;
    this.set("working");
  }

  tick(now) {
    if (this.working) this.time.textContent = this.spent(now);
  }

  spent(at) {
    const cost = spent(this.usage) ?? (this.length ? tokens(this.length) : null);
    return [seconds(at - this.began), cost].filter(Boolean).join(" · ");
  }

  end(at, error, usage) {
    if (!this.working) return;
    this.usage = usage;
    this.set(error ? "failed" : "done");
    this.time.textContent = this.spent(at);
    if (error) this.node.append(el("p.failed", {}, error));
  }

  /** The run has ended: without this agent's own word for it. */
  stop(at, failed) {
    for (const { node, state } of this.calls.values())
      if (node.dataset.state === "working") node.dataset.state = state.textContent = "stopped";
    if (this.working) {
      this.end(at);
      this.set(failed ? "failed" : "stopped");
    } else if (this.began == null) this.node.remove();
  }

  write(delta) {
    if (!this.working) return; // an answer that is told again at the end
    this.length += delta.length;
    this.text ??= this.fold("Text");
    this.text.appendData(delta);
  }

  /** The whole text, when it is known. */
  settle(text) {
    this.length = Math.max(this.length, text.length);
    this.text ??= this.fold("Text");
    this.text.data = text;
  }

  think(delta) {
    this.thoughts ??= this.fold("Reasoning");
    this.thoughts.appendData(delta);
  }

  fold(title) {
    const text = document.createTextNode("");
    this.node.append(
      el(
        "details",
        {},
        el("summary", {}, title),
        el("div.told", { tabindex: 0, role: "group", "aria-label": title }, text),
      ),
    );
    return text;
  }

  call({ tool, arguments: given, call_id: id }, at) {
    const state = el("span.state", {}, "working");
    const body = el("div", {}, el("h5", {}, "Arguments"), el("pre", { tabindex: 0 }, shown(given)));
    const node = el(
      "li.tool",
      { "data-state": "working" },
      el("details", {}, el("summary", {}, el("code", {}, tool), state), body),
    );
    this.calls.set(id, { node, state, body, at });
    this.tools.append(node);
  }

  result({ tool, result, call_id: id }, error, at) {
    if (!this.calls.has(id)) this.call({ tool, arguments: {}, call_id: id }, at);
    const call = this.calls.get(id);
    call.node.dataset.state = error ? "failed" : "done";
    call.state.textContent = `${error ? "failed" : "done"} · ${seconds(at - call.at)}`;
    call.body.append(el("h5", {}, error ? "Error" : "Result"), el("pre", { tabindex: 0 }, shown(error ?? result)));
  }
}

export const seconds = (ms) =>
  ms < 100
    ? `${Math.round(ms)} ms`
    : ms < 60_000
      ? `${(ms / 1000).toFixed(1)} s`
      : `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1000)} s`;
/** What models have reported, or nothing. */
export const spent = (usage) =>
  usage?.completion_tokens == null
    ? null
    : `${((usage.prompt_tokens ?? 0) + usage.completion_tokens).toLocaleString("en")} tokens`;
export function tokens(characters) {
  const count = Math.max(1, Math.round(characters / 4));
  return `≈ ${count.toLocaleString("en")} ${count === 1 ? "token" : "tokens"}`;
}

/** Any JSON, for people. */
export function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
