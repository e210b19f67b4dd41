// The team and the state of the service.

import { get, url } from "./api.js";
import { el } from "./dom.js";

export async function agents() {
  const [team, health] = await Promise.all([get("api/v1/agents"), state()]);
  const checks = Object.entries({ ...health.checks, ...prefixed(health.tools) });
  return [
    el("h2", {}, "Agents"),
    el("ul.cards", {}, team.map(card)),
    el("h2", {}, "Health"),
    el("p", {}, `AgenticFleet ${health.version ?? ""}`),
    el(
      "dl.checks",
      {},
      checks.flatMap(([name, check]) => [
        el("dt", {}, name),
        el("dd", { "data-state": check.status }, el("b", {}, check.status), ` ${check.detail}`),
      ]),
    ),
  ];
}

/** A service that is not well answers 503 and says why. */
async function state() {
  const answer = await fetch(url("health"));
  return answer.json();
}

const prefixed = (tools) =>
  Object.fromEntries(Object.entries(tools ?? {}).map(([name, check]) => [`tool ${name}`, check]));

function card(agent) {
  const broken = agent.unavailable_tools ?? {};
  const tools = agent.tools.map((tool) =>
    el("li", {}, el("code.tag", {}, tool), tool in broken ? el("span.failed", {}, ` ${broken[tool]}`) : null),
  );
  return el(
    "li.card",
    {},
    el(
      "div.head",
      {},
      el("span.face", { "aria-hidden": "true" }, agent.name.slice(0, 1).toUpperCase()),
      el("h3", {}, agent.name),
      el("span.time", {}, agent.model),
    ),
    el("p", {}, agent.description),
    tools.length ? el("ul.has", {}, tools) : null,
  );
}
