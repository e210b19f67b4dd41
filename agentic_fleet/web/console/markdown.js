// Markdown to DOM nodes: blocks, and a text that grows. HTML in it stays text.

import { copier, el } from "./dom.js";
import { inline } from "./inline.js";

const DEPTH = 12; // lists and quotations inside each other
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*$/;
const RULE = /^ {0,3}(?:(?:- *){3,}|(?:\* *){3,}|(?:_ *){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( {1,4}|\t|$)(.*)$/;
const DASHES = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

/** The nodes for a whole text. */
export function render(text) {
  return blocks(text.split("\n"), 0).map(build);
}

/** A growing text in `node`. What cannot change any more is not built again, however long the text gets. */
export class Markdown {
  constructor(node) {
    this.node = node;
    this.reset();
  }

  reset() {
    cancelAnimationFrame(this.frame);
    Object.assign(this, { text: "", settled: 0, open: [], frame: 0, next: 0 });
    this.node.replaceChildren();
  }

  set(text) {
    if (text !== this.text) {
      this.reset();
      this.text = text;
    }
    this.draw();
  }

  append(text) {
    this.text += text;
    this.frame ||= requestAnimationFrame(() => this.tick());
  }

  /** At most a fifth of the time goes into drawing. */
  tick() {
    this.frame = 0;
    const begun = performance.now();
    if (begun < this.next) {
      this.frame = requestAnimationFrame(() => this.tick());
      return;
    }
    this.draw();
    const now = performance.now();
    this.next = now + 4 * (now - begun);
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const lines = this.text.slice(this.settled).split("\n");
    const found = blocks(lines, 0);
    const only = this.open.length === 1 && found.length === 1 && this.open[0];
    if (only && only.matches(".code") && found[0].kind === "code") {
      only.querySelector("span").textContent = found[0].language || "text";
      only.querySelector("code").textContent = found[0].text;
      return;
    }
    let first = found.length - 1; // the first that may still change: the last line is not whole yet
    while (first > 0 && found[first].at >= lines.length - 1) first--;
    for (const node of this.open) node.remove();
    const nodes = found.map(build);
    this.node.append(...nodes);
    this.open = nodes.slice(Math.max(first, 0));
    for (let line = 0; line < (found[first]?.at ?? 0); line++) this.settled += lines[line].length + 1;
  }
}

/** What the lines are: a list of blocks, each with the line it begins `at`. */
function blocks(lines, depth) {
  const found = [];
  for (let at = 0; at < lines.length;) {
    if (!lines[at].trim()) {
      at++;
      continue;
    }
    const [block, next] = read(lines, at, depth);
    found.push({ ...block, at });
    at = next;
  }
  return found;
}

function read(lines, at, depth) {
  const line = lines[at];
  let match;
  if ((match = FENCE.exec(line))) return readCode(lines, at, match);
  if ((match = HEADING.exec(line))) return [{ kind: "heading", level: match[1].length, text: match[2] ?? "" }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < DEPTH && QUOTE.test(line)) return readQuote(lines, at, depth);
  if (depth < DEPTH && (match = ITEM.exec(line))) return readList(lines, at, match, depth);
  if (line.includes("|") && at + 1 < lines.length && lines[at + 1].includes("-") && DASHES.test(lines[at + 1])) {
    const table = readTable(lines, at);
    if (table) return table;
  }
  return readParagraph(lines, at);
}

function readCode(lines, at, [, fence, language]) {
  const ending = new RegExp(`^ {0,3}\\${fence[0]}{${fence.length},}\\s*$`);
  let end = at + 1;
  while (end < lines.length && !ending.test(lines[end])) end++;
  return [
    { kind: "code", language: language.trim().split(/\s/)[0], text: lines.slice(at + 1, end).join("\n") },
    end + 1,
  ];
}

function readQuote(lines, at, depth) {
  const inside = [];
  while (at < lines.length && (QUOTE.test(lines[at]) || (lines[at].trim() && !begins(lines[at])))) {
    inside.push(lines[at++].replace(QUOTE, ""));
  }
  return [{ kind: "quote", blocks: blocks(inside, depth + 1) }, at];
}

function readList(lines, at, first, depth) {
  const ordered = /\d/.test(first[2]);
  const kind = first[2].slice(-1);
  const list = { kind: "list", ordered, start: parseInt(first[2], 10), items: [], loose: false };
  let blank = false;
  for (let item = first; item && item[2].slice(-1) === kind && !RULE.test(lines[at]);) {
    list.loose ||= blank && list.items.length > 0;
    blank = false;
    const width = item[1].length + item[2].length + (item[3].length || 1);
    const inside = [item[4]];
    for (at++; at < lines.length; at++) {
      const line = lines[at];
      const indent = line.search(/\S|$/);
      if (!line.trim()) blank = true;
      else if (indent >= Math.min(width, 4) || indent >= 2 + item[1].length) {
        list.loose ||= blank && inside.length > 0 && !ITEM.test(line.trimStart());
        blank = false;
      } else if (blank || begins(line) || ITEM.test(line)) break;
      inside.push(line.slice(Math.min(indent, width)));
    }
    list.items.push(blocks(inside, depth + 1));
    item = at < lines.length && ITEM.exec(lines[at]);
  }
  return [list, at];
}

function readTable(lines, at) {
  const head = cells(lines[at]);
  const sides = cells(lines[at + 1]).map((cell) =>
    cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "",
  );
  if (head.length !== sides.length) return null;
  const rows = [];
  for (at += 2; at < lines.length && lines[at].trim() && !begins(lines[at]); at++) rows.push(cells(lines[at]));
  return [{ kind: "table", head, sides, rows }, at];
}

function cells(line) {
  const text = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return text.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function readParagraph(lines, at) {
  const inside = [lines[at++].trimStart()];
  while (at < lines.length && lines[at].trim() && !begins(lines[at])) inside.push(lines[at++].trimStart());
  return [{ kind: "paragraph", text: inside.join("\n").trimEnd() }, at];
}

/** Whether a line ends the paragraph before it. A number other than 1 may just stand there. */
function begins(line) {
  const item = ITEM.exec(line);
  return (
    (item && item[4] && !/^(?!1[.)])\d/.test(item[2])) ||
    FENCE.test(line) ||
    HEADING.test(line) ||
    RULE.test(line) ||
    QUOTE.test(line)
  );
}

function build(block) {
  switch (block.kind) {
    case "code":
      return buildCode(block);
    case "heading": // the page has the first two levels
      return el(`h${Math.min(6, block.level + 2)}`, {}, inline(block.text));
    case "rule":
      return el("hr");
    case "quote":
      return el("blockquote", {}, block.blocks.map(build));
    case "list":
      return buildList(block);
    case "table":
      return buildTable(block);
    default:
      return el("p", {}, inline(block.text));
  }
}

function buildCode({ language, text }) {
  const code = el("code", {}, text);
  const head = el(
    "figcaption",
    {},
    el("span", {}, language || "text"),
    copier(() => code.textContent),
  );
  return el("figure.code", {}, head, el("pre", { tabindex: 0 }, code));
}

function buildList({ ordered, start, items, loose }) {
  const inner = (block) => (block.kind === "paragraph" && !loose ? inline(block.text) : build(block));
  const built = items.map((each) => {
    const task = /^\[([ xX])\] /.exec(each[0]?.kind === "paragraph" ? each[0].text : "");
    if (task) each[0].text = (task[1] === " " ? "☐ " : "☑ ") + each[0].text.slice(4);
    return el(task ? "li.task" : "li", {}, each.flatMap(inner));
  });
  return el(ordered ? "ol" : "ul", ordered && start !== 1 ? { start } : {}, built);
}

function buildTable({ head, sides, rows }) {
  const row = (kind, texts) =>
    el(
      "tr",
      {},
      sides.map((side, place) =>
        el(side ? `${kind}.${side}` : kind, kind === "th" ? { scope: "col" } : {}, inline(texts[place] ?? "")),
      ),
    );
  const table = el(
    "table",
    {},
    el("thead", {}, row("th", head)),
    el(
      "tbody",
      {},
      rows.map((texts) => row("td", texts)),
    ),
  );
  return el("div.table", { tabindex: 0, role: "region", "aria-label": "Table" }, table);
}
