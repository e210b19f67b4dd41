// The programs that decide: who they are, optimising them, and which version is in force.

import { call, get, post } from "./api.js";
import { attempt, button, confirmed, el, say, table } from "./dom.js";

const JOBS = "api/v1/optimization/jobs";
const PARTS = { all: "Everything", planner: "The planner", assessor: "The assessor" };
const EFFORTS = { light: "Light", medium: "Medium", heavy: "Heavy" };
const PERIOD = 1500; // milliseconds between looks at a job that is at work

/** What this service can do of it; nothing where it cannot. */
export async function tuning() {
  try {
    const { operator } = await get("api/v1/caller");
    const it = new Tuning(operator);
    await it.look();
    return [it.node];
  } catch (problem) {
    if (problem.status === 404) return [];
    throw problem;
  }
}

class Tuning {
  constructor(operator) {
    this.operator = operator; // others look on
    this.who = el("p");
    this.start = button(
      "play",
      "Start an optimisation",
      attempt(() => this.begin()),
      { shown: true, kind: "primary" },
    );
    this.part = select("Which programs", PARTS);
    this.effort = select("How thoroughly", EFFORTS);
    this.past = el("input", { type: "checkbox", checked: true });
    this.least = el("input", {
      type: "number",
      min: 0,
      max: 10,
      step: 0.5,
      value: 8,
      "aria-label": "Least quality of a run to learn from",
    });
    this.jobs = el("ul.jobs");
    this.versions = el("tbody");
    this.node = el(
      "section",
      {},
      el("h2", {}, "Decision programs"),
      this.who,
      el(
        "div.filter",
        {},
        this.part,
        this.effort,
        el("label.pick", {}, this.past, el("span", {}, "Learn from runs of quality")),
        this.least,
        this.start,
      ),
      operator ? null : el("p.note", {}, "Only operators change how the team decides."),
      this.jobs,
      el("h2", {}, "Versions"),
      table("Versions", ["Version", "Made", "By", "Examples", "Before and after", ""], this.versions),
    );
  }

  async begin() {
    const job = await post(JOBS, {
      module_name: this.part.value,
      auto_mode: this.effort.value,
      use_history_examples: this.past.checked,
      history_min_quality: Number(this.least.value),
    });
    say("The optimisation has begun.");
    await this.look();
    return job;
  }

  /** Reads everything, and again while a job is at work and somebody looks. */
  async look() {
    const [jobs, programs, config] = await Promise.all([
      get(JOBS),
      get("api/v1/dspy/programs"),
      get("api/v1/dspy/config"),
    ]);
    this.who.textContent = `Plans are made by the ${config.planner}, answers assessed by the ${config.assessor}. In force: ${config.program_version}.`;
    const open = jobs.some((job) => !job.progress_completed);
    this.start.disabled = open || !this.operator;
    this.jobs.replaceChildren(...jobs.slice(0, 5).map((job) => this.job(job)));
    this.versions.replaceChildren(...programs.map((program) => this.version(program)));
    clearTimeout(this.timer);
    if (open) this.timer = setTimeout(() => this.node.isConnected && this.look().catch(() => {}), PERIOD);
  }

  job(job) {
    const { details } = job;
    const state = el("span.state", {}, details.outcome && job.status === "completed" ? details.outcome : job.status);
    const stop = attempt(async () => {
      await post(`${JOBS}/${job.job_id}/cancel`);
      await this.look();
    });
    return el(
      "li.card",
      { "data-state": job.status },
      el(
        "div.head",
        {},
        el("b", {}, PARTS[details.module_name] ?? details.module_name),
        state,
        el("span.time", {}, moment(job.created_at)),
      ),
      job.progress_completed ? null : el("progress", { max: 1, value: job.progress, "aria-label": "Progress" }),
      el(job.error ? "p.failed" : "p.words", {}, job.error ?? details.note ?? job.message),
      compared(details.before, details.metrics),
      job.progress_completed ? null : el("div.buttons", {}, button("stop", "Cancel", stop, { shown: true })),
    );
  }

  version(it) {
    const adopt = attempt(async () => {
      if (!(await confirmed(`Put ${it.program_version} in force? The next run decides with it.`, "Adopt"))) return;
      await call("POST", `api/v1/dspy/programs/${it.program_version}/adopt`, {});
      say("It is in force.");
      await this.look();
    });
    return el(
      "tr",
      {},
      el("td", {}, el("code", {}, it.program_version)),
      el("td", {}, it.created_at ? moment(it.created_at) : ""),
      el("td", {}, [it.optimizer, it.changes.join(", ")].filter(Boolean).join(": ")),
      el("td", { "data-label": "examples" }, it.examples ?? ""),
      el("td", {}, compared(it.before, it.after)),
      el(
        "td",
        {},
        it.in_force
          ? el("b.good", {}, "in force")
          : this.operator && button(null, it.created_at ? "Adopt" : "Roll back", adopt, { shown: true }),
      ),
    );
  }
}

/** Scores on examples that were held out. */
function compared(before, after) {
  const rows = Object.entries(after ?? {}).filter(([, each]) => each?.score != null);
  if (!rows.length) return null;
  const share = (figures) => (figures?.score == null ? "?" : `${(100 * figures.score).toFixed(1)} %`);
  return el(
    "p.compared",
    {},
    rows.map(([part, each]) => el("span", {}, `${part} ${share(before?.[part])} → `, el("b", {}, share(each)))),
  );
}

const moment = (time) => new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });

function select(label, options) {
  return el(
    "select",
    { "aria-label": label },
    Object.entries(options).map(([value, text]) => el("option", { value }, text)),
  );
}
