"""HTML as text that can be read: what a browser would show, without the layout.

Not the standard library's parser: on text made to hurt it takes time that grows with the square of the length (33 s
for 128 KiB of unclosed tags, Python 3.11), and it raises on malformed declarations. This one looks at each character
once, takes whatever comes, and knows no more of HTML than reading needs.
"""

import re
from collections.abc import Iterator
from html import unescape

_UNSEEN = frozenset({"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "title"})
_BLOCKS = frozenset(
    """address article aside blockquote body br caption dd details div dl dt figcaption figure footer form h1 h2 h3
    h4 h5 h6 head header hr html legend li main nav ol option p pre section summary table tbody tfoot thead tr
    ul""".split()
)
_CELLS = frozenset({"td", "th"})
_NAME = re.compile(r"/?([a-zA-Z][^\s/>]*)")
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{1,1000})", re.IGNORECASE)
_ENDS = {name: re.compile(f"</{name}", re.IGNORECASE) for name in _UNSEEN}
_SPACES = re.compile(r"\s+")


def readable(html: str) -> str:
    """The title, an empty line, and the text: a line per block, a single space between words."""
    lines = (_SPACES.sub(" ", unescape(line)).strip() for line in "".join(_pieces(html)).split("\n"))
    text = "\n".join(line for line in lines if line)
    title = _TITLE.search(html)
    heading = _SPACES.sub(" ", unescape(title[1])).strip() if title else ""
    return f"{heading}\n\n{text}".strip()


def _pieces(html: str) -> Iterator[str]:
    """Text, and a line's end or a space where a tag makes one. An unclosed tag or comment hides the rest (as the
    HTML standard has it at the end of a file)."""
    at = 0
    while (tag := html.find("<", at)) >= 0:
        yield _SPACES.sub(" ", html[at:tag])  # a line's end in the source is only a space
        name = _NAME.match(html, tag + 1)
        if name:
            yield _gap(name[1].lower())
            at = _after(html, tag, name)
        elif html.startswith(("!", "?", "/"), tag + 1):
            at = _beyond(html, "-->" if html.startswith("<!--", tag) else ">", tag + 1)
        else:
            yield "<"
            at = tag + 1
    yield _SPACES.sub(" ", html[at:])


def _gap(name: str) -> str:
    return "\n" if name in _BLOCKS else " " if name in _CELLS else ""


def _after(html: str, tag: int, name: re.Match[str]) -> int:
    """Where reading goes on after a tag: behind the whole element, when its content is not to be seen."""
    end = _beyond(html, ">", tag)
    element = name[1].lower()
    if element not in _UNSEEN or html.startswith("/", tag + 1):
        return end
    close = _ENDS[element].search(html, end)
    return _beyond(html, ">", close.end()) if close else len(html)


def _beyond(html: str, mark: str, start: int) -> int:
    found = html.find(mark, start)
    return found + len(mark) if found >= 0 else len(html)
