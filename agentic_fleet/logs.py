"""The log: one line per record on stderr, as JSON or for a console, with the ids that are bound in `context`.

Lines never hold a message's text, a key or raw input; control characters are escaped, so no input can forge a line.
"""

import logging
import sys
import time
import traceback
from typing import Any

from agentic_fleet import jsontext
from agentic_fleet.context import ContextFilter
from agentic_fleet.errors import FleetError
from agentic_fleet.settings import Settings

_IDS = ("request_id", "run_id", "conversation_id", "trace_id")
_QUIET = (
    "uvicorn",
    "sse_starlette",
    "websockets",
    "asyncio",
    "httpx",
    "httpcore",
    "agent_framework",
    "dspy",
    "aiohttp.access",
    "opentelemetry",
    "urllib3",
)
"""Libraries whose lines would drown ours, or hold messages: never below WARNING, even when ours are at DEBUG."""


_TELLING = frozenset({AttributeError, ImportError, ModuleNotFoundError, NameError, NotImplementedError, TypeError})
"""Errors of Python's own whose text names code. Others quote what they stumbled over."""


def mute_the_wire() -> None:
    """Drop uvicorn's lines below INFO, whoever configures it: they quote headers and frames, keys and questions."""
    for name in ("uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).addFilter(_is_no_wire)


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in _IDS if (value := getattr(record, name, None))}
        if record.exc_info:
            line["exception"] = explained(record.exc_info[1])
        return jsontext.encode(line).decode()


class ConsoleLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        ids = "".join(f" {name.removesuffix('_id')}={value}" for name in _IDS if (value := getattr(record, name, None)))
        text = _escaped(record.getMessage())
        line = f"{_time(record)} {record.levelname:7} {record.name.removeprefix('agentic_fleet.')}: {text}{ids}"
        return f"{line}\n{explained(record.exc_info[1])}" if record.exc_info else line


def explained(error: BaseException | None) -> str:
    """Where it came from, innermost last, with all that is behind it. What it says itself is left out unless Python or
    we have written it: libraries quote in their errors what they were given.
    """
    if error is None:
        return ""
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    parts = [explained(behind), "which led to"] if behind else []
    parts += [line.rstrip() for line in traceback.format_tb(error.__traceback__)]
    said = f": {_escaped(_said(error))}".removesuffix(": ")
    parts.append(f"{type(error).__module__}.{type(error).__qualname__}{said}")
    if isinstance(error, BaseExceptionGroup):
        for number, each in enumerate(error.exceptions, start=1):
            parts += [f"of which {number}:", explained(each)]
    return "\n".join(parts)


def _said(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or ""  # not with the file's name, which a model may have chosen
    return str(error) if type(error) in _TELLING or isinstance(error, FleetError) else ""


def configure_logging(settings: Settings) -> None:
    """Once per process, before anything logs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log == "json" else ConsoleLines())
    handler.addFilter(ContextFilter())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _is_no_wire(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO
