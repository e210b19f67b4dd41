// What the team learns from: how good its answers were, and who says so.

import { get } from "./api.js";
import { el, svg, table } from "./dom.js";
import { short, when } from "./history.js";
import { tuning } from "./tuning.js";

const MOST = 300; // answers in the plot
const SHOWN = 10; // examples in the list
const WINDOW = 10; // answers in an average
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [640, 220, 28, 20];

export async function learning() {
  const runs = [];
  while (runs.length < MOST) {
    const page = await get(`api/v1/history?limit=100&offset=${runs.length}`);
    runs.push(...page);
    if (page.length < 100) break;
  }
  const scored = runs.filter((run) => run.quality.score != null).reverse();
  const course = scored.length ? quality(scored) : [el("p.empty", {}, "No answer has a score yet.")];
  return [el("h2", {}, "Quality over time"), ...course, ...(await examples()), ...(await tuning())];
}

/** What the newest runs teach, or why they do not. */
async function examples() {
  const found = await get(`api/v1/dspy/examples?limit=${SHOWN}`);
  if (!found.length) return [];
  const rows = found.map((it) =>
    el(
      "tr",
      {},
      el("td", {}, when(it.at)),
      el("td.wide", {}, el("a", { href: `#/history/${it.workflow_id}` }, short(it.task, 90))),
      el("td", {}, [it.agents.join(", "), it.mode].filter(Boolean).join(" · ")),
      el("td", { "data-label": "quality" }, it.quality_score ?? ""),
      el("td.why", {}, it.learned ? el("b.good", {}, it.why) : it.why),
    ),
  );
  return [el("h2", {}, "Examples"), table("Examples", ["When", "Question", "Team", "Quality", "Teaches"], rows)];
}

function quality(runs) {
  const scores = runs.map((run) => run.quality.score);
  const flagged = runs.filter((run) => run.quality.flag).length;
  const said = runs.filter((run) => run.quality.by === "human").length;
  const facts = {
    Answers: runs.length,
    Average: mean(scores),
    "Last ten": mean(scores.slice(-WINDOW)),
    Flagged: flagged,
    "Judged by people": said,
  };
  return [
    el(
      "dl.facts",
      {},
      Object.entries(facts).map(([name, fact]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(fact)))),
    ),
    plot(
      runs,
      `Quality of ${runs.length} answers from 0 to 10, on average ${mean(scores)}, of the last ten ${mean(scores.slice(-WINDOW))}.`,
    ),
    el(
      "p.note",
      {},
      "Each point is an answer, the oldest on the left; full points were judged by people. The line is the average of ten.",
    ),
  ];
}

const mean = (numbers) => Math.round((10 * numbers.reduce((sum, each) => sum + each, 0)) / numbers.length) / 10;

function plot(runs, label) {
  const across = (place) => LEFT + 8 + (place * (WIDTH - LEFT - 16)) / Math.max(1, runs.length - 1);
  const up = (score) => 8 + ((10 - score) * (HEIGHT - BOTTOM - 8)) / 10;
  const grid = [0, 5, 10].flatMap((score) => [
    svg("line", { x1: LEFT, x2: WIDTH, y1: up(score), y2: up(score), class: "grid" }),
    svg("text", { x: LEFT - 6, y: up(score) + 4, "text-anchor": "end" }, String(score)),
  ]);
  const days = [0, runs.length - 1].map((place) =>
    svg(
      "text",
      { x: place ? WIDTH : LEFT, y: HEIGHT - 2, "text-anchor": place ? "end" : "start" },
      new Date(runs[place].created_at).toLocaleDateString("en-GB"),
    ),
  );
  const points = runs.map((run, place) =>
    svg(
      "circle",
      { cx: across(place), cy: up(run.quality.score), r: 3.5, class: run.quality.by },
      svg("title", {}, `${run.quality.score}: ${run.task.slice(0, 80)}`),
    ),
  );
  const line = runs.map((_, place) => {
    const before = runs.slice(Math.max(0, place - WINDOW + 1), place + 1).map((run) => run.quality.score);
    return `${across(place)},${up(mean(before))}`;
  });
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img", "aria-label": label },
    ...grid,
    ...(runs.length > 1 ? days : days.slice(0, 1)),
    ...points,
    svg("polyline", { points: line.join(" ") }),
  );
}
