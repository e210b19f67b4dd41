"""The tools that need no description in fleet.toml."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from agentic_fleet.workflows.tools.arithmetic import calculate
from agentic_fleet.workflows.tools.clock import current_time
from agentic_fleet.workflows.tools.gate import NOBODY
from agentic_fleet.workflows.tools.pages import open_pages
from agentic_fleet.workflows.tools.search import KEY, open_search
from agentic_fleet.workflows.tools.spec import ToolFailed, Unavailable


async def ask_user(question: str) -> str:
    """Ask the user a question and wait for the answer. Only for what nobody else can know."""
    raise ToolFailed(NOBODY)  # inside a run the gate answers


_SIMPLE: Mapping[str, Callable[..., Awaitable[str]]] = {
    "calculate": calculate,
    "current_time": current_time,
    "ask_user": ask_user,
}
BUILT_IN = frozenset({*_SIMPLE, "fetch_url", "web_search"})


async def open_built_in(name: str, stack: AsyncExitStack, environ: Mapping[str, str]) -> Callable[..., Awaitable[str]]:
    """The function of the tool `name`, one of BUILT_IN; what it holds is closed with `stack`. Raises Unavailable."""
    match name:
        case "fetch_url":
            return (await stack.enter_async_context(open_pages())).fetch_url
        case "web_search":
            if not (key := environ.get(KEY, "").strip()):
                raise Unavailable(f"Set {KEY} to a key for Tavily's search API.")
            return (await stack.enter_async_context(open_search(key))).web_search
    return _SIMPLE[name]
