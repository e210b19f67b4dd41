// A question of the team to a human: what it is about, buttons, a text box; and what became of it.

import { post } from "./api.js";
import { shown } from "./agent.js";
import { button, el } from "./dom.js";

export class Request {
  constructor(run, { request_id: id, request_type: type, request }) {
    Object.assign(this, { run, id, open: true });
    const kind = kindOf(type);
    const [title, about] = ABOUT[kind](request ?? {});
    this.title = title;
    this.about = el("div.about", {}, about);
    this.words = el("textarea", {
      rows: 2,
      maxlength: 10_000,
      "aria-label": kind === "question" ? "Your answer" : "Your words",
      placeholder: HINTS[kind],
    });
    this.problem = el("p.failed", { role: "alert" });
    this.buttons = el(
      "div.buttons",
      {},
      CHOICES[kind].map((choice) => this.choice(choice)),
    );
    this.form = el("div.form", {}, this.words, this.buttons, this.problem);
    this.node = el(
      "section.request",
      { "aria-label": title, "data-state": "open" },
      el("h4", {}, title),
      this.about,
      this.form,
    );
    this.words.addEventListener("keydown", (press) => {
      if (press.key === "Enter" && !press.shiftKey && !press.isComposing) {
        press.preventDefault();
        if (this.words.value.trim()) this.buttons.querySelector("[data-words]")?.click();
      }
    });
  }

  choice({ label, kind = "plain", needsWords = false, answer }) {
    const made = button(null, label, () => this.give(answer, needsWords), { shown: true, kind });
    if (needsWords || answer === DECLINE) made.dataset.words = "";
    return made;
  }

  async give(answer, needsWords) {
    const words = this.words.value.trim();
    if (needsWords && !words) return this.words.focus();
    this.mine = this.form.contains(document.activeElement); // a disabled button loses the focus
    for (const each of this.buttons.children) each.disabled = true;
    this.problem.textContent = "";
    try {
      const response = answer(words);
      await post(`api/v1/runs/${this.run}/responses`, { request_id: this.id, response });
      this.answered(response);
    } catch (problem) {
      if (problem.status === 409 || problem.status === 404)
        this.shut(problem.status === 409 ? "It has been answered, or the run is over." : "It is not asked any more.");
      else {
        this.problem.textContent = problem.message;
        for (const each of this.buttons.children) each.disabled = false;
      }
    }
  }

  /** An answer has come, from here or elsewhere. */
  answered(response) {
    this.told = true;
    const said = response?.comment ?? response?.message ?? (typeof response === "object" ? "" : String(response));
    const verdict =
      response === true || response?.approved === true
        ? "Approved"
        : response === false || response?.approved === false
          ? "Declined"
          : "Answered";
    this.shut(said && said !== "true" && said !== "false" ? `${verdict}: ${said}` : `${verdict}.`);
  }

  shut(words) {
    if (!this.open) return;
    this.open = false;
    const { activeElement: focused, body } = document; // who has gone on to something else meanwhile stays there
    const mine = this.form.contains(focused) || (this.mine && focused === body);
    this.node.dataset.state = "shut";
    this.node.replaceChildren(
      el("details", {}, el("summary", {}, this.title, " · ", el("span.outcome", {}, words)), this.about),
    );
    if (mine) document.getElementById("message")?.focus();
    this.node.dispatchEvent(new Event("shut"));
  }
}

export const kindOf = (type) =>
  /approval/i.test(type)
    ? "tool"
    : /plan|intervention/i.test(type)
      ? "plan"
      : /input/i.test(type)
        ? "question"
        : "other";

const DECLINE = (words) => (words ? { approved: false, comment: words } : { approved: false });
const APPROVE = {
  label: "Approve",
  kind: "primary",
  answer: (words) => (words ? { approved: true, comment: words } : { approved: true }),
};
const CHOICES = {
  tool: [APPROVE, { label: "Decline", answer: DECLINE }],
  plan: [
    { ...APPROVE, answer: () => ({ approved: true }) },
    { label: "Ask for changes", needsWords: true, answer: (words) => words },
  ],
  question: [{ label: "Answer", kind: "primary", needsWords: true, answer: (words) => words }],
  other: [
    APPROVE,
    { label: "Decline", answer: DECLINE },
    { label: "Send text", needsWords: true, answer: (words) => words },
  ],
};
const HINTS = {
  tool: "A word to the agent, if you like",
  plan: "What should be different?",
  question: "Your answer",
  other: "Your words",
};
const ABOUT = {
  tool: ({ tool, arguments: given, agent }) => [
    "May this tool be used?",
    [
      el("p", {}, el("b", {}, agent || "An agent"), " wants to call ", el("code", {}, tool ?? "a tool"), ":"),
      el("pre", { tabindex: 0 }, shown(given ?? {})),
    ],
  ],
  plan: (plan) => [
    "Is this plan all right?",
    [
      el("p", {}, el("b", {}, (plan.agents ?? []).join(" → ")), plan.mode ? ` (${plan.mode})` : ""),
      plan.reason ? el("p", {}, plan.reason) : null,
      el(
        "dl",
        {},
        Object.entries(plan.subtasks ?? {}).flatMap(([name, part]) => [el("dt", {}, name), el("dd", {}, part)]),
      ),
    ],
  ],
  question: ({ question, agent }) => [agent ? `${agent} asks` : "A question for you", el("p", {}, question ?? "")],
  other: (request) => ["The team needs you", el("pre", { tabindex: 0 }, shown(request))],
};
