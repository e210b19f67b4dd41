"""What others have written, made fit for a terminal."""

import re
from datetime import datetime

from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def plain(text: str, style: str = "") -> Text:
    """Without control characters: they could move the cursor, retitle the window or hide what was said."""
    return Text(_CONTROL.sub("\ufffd", text), style)


def seconds_between(began: str, ended: str) -> str:
    """Two times of events (RFC 3339) as "4.1 s"; nothing when one is not known."""
    if not began or not ended:
        return ""
    return f"{(datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds():.1f} s"


def cut(text: object, most: int) -> str:
    """On one line of at most `most` characters."""
    line = " ".join(str(text or "").split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
