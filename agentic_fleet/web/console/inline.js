// What is in a line of Markdown, to DOM nodes. Links lead to http, https and mailto only, pictures become links.

import { el } from "./dom.js";

const LINK =
  /\[((?:[^[\]\\]|\\.|\[[^[\]]{0,200}\]){0,400})\]\(\s*<?((?:[^\s()<>]|\([^\s()<>]{0,200}\)){0,2000})>?(?:\s+"[^"]{0,300}"|\s+'[^']{0,300}')?\s*\)/y;
const INLINE =
  /\\([!-/:-@[-`{-~])|(`+)|(\*+|_+|~~)|(!?)\[|<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>|\b(https?:\/\/[^\s<>]{1,2000})|(?: {2,}|\\)?\n/g;

/** An address that a link may lead to, or null. */
function safeAddress(text) {
  try {
    const found = new URL(text);
    return ["http:", "https:", "mailto:"].includes(found.protocol) ? found.href : null;
  } catch {
    return null;
  }
}

/** The nodes for a text with emphasis, code and links in it. Time grows with its length, whatever is in it. */
export function inline(text, inLink = false) {
  const out = [];
  const marks = []; // emphasis that may still be closed: {char, count, place in `out`}
  const unclosed = new Set(); // lengths of backtick runs that have no end
  let plain = 0;
  let match;
  const flush = (end) => end > plain && out.push(document.createTextNode(text.slice(plain, end)));
  INLINE.lastIndex = 0;
  while ((match = INLINE.exec(text))) {
    const at = match.index;
    let end = INLINE.lastIndex;
    const [whole, escaped, ticks, mark, picture, angled, bare] = match;
    let node = null;
    if (escaped) node = document.createTextNode(escaped);
    else if (ticks) {
      const close = unclosed.has(ticks.length) ? -1 : closing(text, ticks, end);
      if (close < 0) unclosed.add(ticks.length);
      else {
        node = el(
          "code",
          {},
          text
            .slice(end, close)
            .replaceAll("\n", " ")
            .replace(/^ (.*[^ ].*) $/, "$1"),
        );
        end = close + ticks.length;
      }
    } else if (mark) {
      flush(at);
      emphasis(out, marks, text, at, mark);
      plain = end;
      continue;
    } else if (angled || bare) {
      const address = angled ?? bare.replace(/[.,;:!?'"*_~]+$/, "").replace(/(?<=^[^(]*)\)+$/, "");
      end = at + (angled ? whole.length : address.length);
      node = inLink ? null : link(address, [address]);
    } else if (whole.endsWith("\n")) node = el("br");
    else {
      LINK.lastIndex = at + picture.length;
      const found = inLink ? null : LINK.exec(text);
      if (found) {
        end = LINK.lastIndex;
        node = link(found[2], inline(found[1] || found[2], true));
      }
    }
    INLINE.lastIndex = end;
    if (!node) continue;
    flush(at);
    out.push(node);
    plain = end;
  }
  flush(text.length);
  return out;
}

function link(address, children) {
  const href = safeAddress(address);
  return href ? el("a", { href, rel: "noopener noreferrer", target: "_blank" }, children) : null;
}

function closing(text, ticks, from) {
  for (let at = text.indexOf(ticks, from); at >= 0; at = text.indexOf(ticks, at)) {
    let end = at;
    while (text[end] === "`") end++;
    if (end - at === ticks.length) return at;
    at = end;
  }
  return -1;
}

/** Closes what `mark` closes and opens what it may open (CommonMark's rules, without the rare ones). */
function emphasis(out, marks, text, at, mark) {
  const char = mark[0];
  const before = text[at - 1] ?? " ";
  const after = text[at + mark.length] ?? " ";
  const word = /[\p{L}\p{N}]/u;
  const opens = /\S/.test(after) && !(char === "_" && word.test(before));
  const closes = /\S/.test(before) && !(char === "_" && word.test(after));
  let count = mark.length;
  while (closes && count) {
    const place = marks.findLastIndex((open) => open.char === char);
    if (place < 0) break;
    const open = marks[place];
    const used = char === "~" || (count > 1 && open.count > 1) ? 2 : 1;
    const node = el(char === "~" ? "del" : used === 2 ? "strong" : "em", {}, out.splice(open.place + 1));
    open.count -= used;
    count -= used;
    marks.length = place + (open.count ? 1 : 0);
    if (open.count) out[open.place].data = char.repeat(open.count);
    else out.pop();
    out.push(node);
  }
  if (!count) return;
  if (opens) marks.push({ char, count, place: out.length });
  out.push(document.createTextNode(char.repeat(count)));
}
