"""The tools of the team, opened once for all runs: built-in ones, Python functions, MCP servers.

A tool that cannot work is reported and left out, and the service starts without it: an agent without a search engine
is still of use, a service that is down is not.
"""

import logging
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from agent_framework import FunctionTool
from anyio.abc import TaskGroup

from agentic_fleet.about import Check
from agentic_fleet.errors import BadSetting
from agentic_fleet.workflows.tools.builtin import BUILT_IN, open_built_in
from agentic_fleet.workflows.tools.functions import function_tool, imported
from agentic_fleet.workflows.tools.gate import Gate
from agentic_fleet.workflows.tools.spec import ToolSpec, Unavailable
from agentic_fleet.workflows.tools.threads import Threads

if TYPE_CHECKING:
    from agentic_fleet.workflows.tools.mcp import Server

logger = logging.getLogger(__name__)


class Toolbox:
    """What is in it does not change while it is open; a server that dies fails its calls until it is back."""

    def __init__(
        self,
        functions: Mapping[str, list[FunctionTool]],
        checks: Mapping[str, Check],
        servers: Mapping[str, "Server"],
        gate: Gate,
    ) -> None:
        self.gate = gate
        self._functions = functions
        self._checks = checks
        self._servers = servers

    def of(self, names: Collection[str]) -> list[FunctionTool]:
        """What the tools `names` consist of, in that order, for an agent with the `gate` among its middleware."""
        return [function for name in names for function in self._functions.get(name, ())]

    @property
    def checks(self) -> Mapping[str, Check]:
        """The state of every configured or wanted tool, as of now."""
        return {**self._checks, **{name: server.check for name, server in self._servers.items()}}


@asynccontextmanager
async def open_toolbox(
    specs: Mapping[str, ToolSpec], wanted: Collection[str], *, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Toolbox]:
    """A toolbox for the block. `wanted` are the names that agents use; what nobody uses is not opened.

    Raises BadSetting, naming the key, for a name that is neither built in nor in `specs`, and for a spec that does not
    say what the tool is.
    """
    for spec in specs.values():
        _check(spec)
    if unknown := sorted(set(wanted) - specs.keys() - BUILT_IN):
        raise BadSetting(f"tools.{unknown[0]}: an agent uses it, but it is neither built in nor described")
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        opening = _Opening(stack, tasks, environ)
        await opening.open([specs.get(name) or ToolSpec(name=name) for name in sorted(wanted)])
        for name in specs.keys() - set(wanted):
            opening.checks[name] = Check(status="ok", detail="not opened: no agent uses it")
        yield Toolbox(opening.functions, opening.checks, opening.servers, Gate(opening.specs))
        tasks.cancel_scope.cancel("the toolbox is closed")


class _Opening:
    """Tools being opened, all at once: a server that does not answer keeps no other waiting."""

    def __init__(self, stack: AsyncExitStack, tasks: TaskGroup, environ: Mapping[str, str]) -> None:
        self.functions: dict[str, list[FunctionTool]] = {}
        self.checks: dict[str, Check] = {}
        self.servers: dict[str, Server] = {}
        self.specs: dict[str, ToolSpec] = {}  # by function name, for the gate
        self._stack = stack
        self._tasks = tasks
        self._environ = environ
        self._threads = Threads()

    async def open(self, specs: Sequence[ToolSpec]) -> None:
        async with anyio.create_task_group() as opening:
            for spec in specs:
                opening.start_soon(self._open, spec)
        for spec in sorted(specs, key=_is_server):  # a server's name for a tool gives way to ours
            self._admit(spec)

    async def _open(self, spec: ToolSpec) -> None:
        try:
            self.functions[spec.name] = await self._functions(spec)
        except Unavailable as error:
            self._leave_out(spec, str(error))

    def _admit(self, spec: ToolSpec) -> None:
        names = [function.name for function in self.functions.get(spec.name, ())]
        if taken := [name for at, name in enumerate(names) if name in self.specs or name in names[:at]]:
            self._leave_out(spec, f"Two tools would be called {taken[0]}: give this one another name.")
        elif names:
            self.checks[spec.name] = Check(status="ok", detail="ready")
            self.specs |= dict.fromkeys(names, spec)

    def _leave_out(self, spec: ToolSpec, reason: str) -> None:
        self.functions.pop(spec.name, None)
        self.servers.pop(spec.name, None)
        self.checks[spec.name] = Check(status="failed", detail=reason)
        logger.warning("tool %s cannot be used: %s", spec.name, reason)

    async def _functions(self, spec: ToolSpec) -> list[FunctionTool]:
        if _is_server(spec):
            return await self._connected(spec)
        if spec.function:
            function = imported(spec.function)
        else:
            function = await open_built_in(spec.name, self._stack, self._environ)
        return [function_tool(spec.name, function, self._threads)]

    async def _connected(self, spec: ToolSpec) -> list[FunctionTool]:
        try:
            from agentic_fleet.workflows.tools.mcp import Server  # takes a second, and needs the extra
        except ImportError as error:
            raise Unavailable("MCP servers need an extra: .venv/bin/pip install -e '.[mcp]'.") from error
        server = Server(spec, self._environ)
        await self._tasks.start(server.own)
        self.servers[spec.name] = server
        return server.functions


def _is_server(spec: ToolSpec) -> bool:
    return bool(spec.command or spec.url)


def _check(spec: ToolSpec) -> None:
    """Raises BadSetting."""
    said = [key for key in ("function", "command", "url") if getattr(spec, key)]
    if spec.name in BUILT_IN and said:
        raise BadSetting(f"tools.{spec.name}.{said[0]}: {spec.name} is built in")
    if spec.name not in BUILT_IN and len(said) != 1:
        raise BadSetting(f"tools.{spec.name}: exactly one of function, command and url must say what it is")
