"""MCP servers as tools (modelcontextprotocol.io), over stdio and streamable HTTP.

A connection is made of cancel scopes, which belong to the task that entered them. So each server has one task of the
toolbox's, which enters the connection, leaves it, and enters it anew when it is lost.

Spoken through the `mcp` package's own client. Agent Framework's MCP tools keep the connection in a task that no scope
reaches: one that is abandoned while it connects leaves its process behind, and a server that has died is never
connected again (seen with 1.23).
"""

import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
from agent_framework import FunctionTool
from anyio.abc import TaskStatus
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.streamable_http import streamable_http_client

from agentic_fleet.about import Check
from agentic_fleet.errors import innermost
from agentic_fleet.workflows.tools.spec import ToolFailed, ToolSpec, Unavailable

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 15.0  # seconds until a server must have said what tools it has; some start a whole runtime first
PROBE_TIMEOUT = 5.0  # seconds for a server that is in doubt to say it again
PATIENCE = 2.0  # seconds a call waits for a server that is being connected again
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0  # seconds before it is tried again: doubled each time
MAX_PAGES = 20  # of a server's list of tools
_OURS = re.compile(r"\$([A-Za-z_]\w*)")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")
_MAX_NAME = 64  # characters of a function's name, for OpenAI's API


class Server:
    """One MCP server. Its tools are those it had at first, so that prompts do not change under a run.

    Raises Unavailable when a variable that `spec` refers to is not set.
    """

    def __init__(self, spec: ToolSpec, environ: Mapping[str, str]) -> None:
        self.functions: list[FunctionTool] = []
        self.check = Check(status="starting", detail="connecting")
        self._name = spec.name
        self._only = frozenset(spec.only)
        self._connection = _connection(spec, environ)
        self._client: Client | None = None
        self._ready = anyio.Event()
        self._doubt = anyio.Event()
        self._pause = FIRST_PAUSE

    async def own(self, *, task_status: TaskStatus[None]) -> None:
        """Hold the connection until cancelled. Started when there are `functions`; Unavailable when there are none."""
        while True:
            try:
                await self._connect(task_status)
                reason = "connection lost"
            except Exception as error:  # the server, its process and its network are not ours
                reason = type(innermost(error)).__name__
                if not self.functions:
                    raise _unavailable(innermost(error)) from error
            logger.warning("MCP server %s: %s, trying again in %g s", self._name, reason, self._pause)
            await anyio.sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _connect(self, task_status: TaskStatus[None]) -> None:
        """One connection, from its beginning until it is lost."""
        with anyio.CancelScope(deadline=anyio.current_time() + CONNECT_TIMEOUT) as connecting:
            async with self._connection() as client:
                tools = await _tools(client)
                connecting.deadline = math.inf
                if not self.functions:
                    self.functions = self._functions(tools)
                    task_status.started()
                self._client, self._pause = client, FIRST_PAUSE
                self.check = Check(status="ok", detail=f"connected, {len(self.functions)} tools")
                self._ready.set()
                try:
                    await self._until_lost(client)
                finally:
                    self._client = None
                    self._hold_calls()
                    self.check = Check(status="failed", detail="The connection was lost; it is being made again.")
        if connecting.cancelled_caught:
            raise TimeoutError

    async def _until_lost(self, client: Client) -> None:
        while True:
            await self._doubt.wait()
            self._doubt = anyio.Event()
            try:
                with anyio.fail_after(PROBE_TIMEOUT):
                    await client.list_tools()
            except Exception as error:  # whatever it is, the server is not well
                logger.debug("MCP server %s does not answer: %s", self._name, type(error).__name__)
                return
            self._ready.set()

    def _hold_calls(self) -> None:
        """Calls wait from here on, for at most PATIENCE."""
        if self._ready.is_set():
            self._ready = anyio.Event()

    def _functions(self, tools: list[types.Tool]) -> list[FunctionTool]:
        if unknown := self._only - {tool.name for tool in tools}:
            raise Unavailable(f"The MCP server has no tool {min(unknown)!r}: correct 'only'.")
        wanted = [tool for tool in tools if not self._only or tool.name in self._only]
        if not wanted:
            raise Unavailable("The MCP server has no tools.")
        return [self._function(tool) for tool in wanted]

    def _function(self, tool: types.Tool) -> FunctionTool:
        async def call(**arguments: Any) -> str:
            return await self._call(tool.name, arguments)

        name = _NOT_IN_A_NAME.sub("_", f"{self._name}_{tool.name}")[:_MAX_NAME]
        schema = {"properties": {}, **tool.input_schema}  # OpenAI's API refuses a schema without properties
        return FunctionTool(name=name, description=tool.description or tool.name, func=call, input_model=schema)

    async def _call(self, tool: str, arguments: dict[str, Any]) -> str:
        with anyio.move_on_after(PATIENCE):
            await self._ready.wait()
        if (client := self._client) is None:
            raise ToolFailed(f"The MCP server {self._name} is not connected at the moment.")
        answered = False
        try:
            result = await client.call_tool(tool, arguments)
            answered = True
        except MCPError as error:
            raise ToolFailed(f"The MCP server {self._name} could not do it: {error.message}") from None
        except Exception as error:  # its network is not ours
            raise ToolFailed(f"The MCP server {self._name} broke off ({type(error).__name__}).") from error
        finally:
            if not answered:  # also when it took too long: is it still there?
                self._hold_calls()
                self._doubt.set()
        text = _text(result)
        if result.is_error:
            raise ToolFailed(text)
        return text


def _connection(spec: ToolSpec, environ: Mapping[str, str]) -> Callable[[], Any]:
    """What makes a new connection, an async context manager over a Client."""
    if spec.command:
        command, *arguments = spec.command
        variables = _resolved(spec.env, environ)
        return lambda: Client(StdioServerParameters(command=command, args=arguments, env=variables), cache=None)
    headers = _resolved(spec.headers, environ)
    return lambda: _over_http(spec.url or "", headers)


@asynccontextmanager
async def _over_http(url: str, headers: Mapping[str, str]) -> AsyncIterator[Client]:
    # a server may be silent for as long as a tool works; the tool's own time limit ends that
    timeout = httpx2.Timeout(CONNECT_TIMEOUT, read=None)
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout) as http,
        Client(streamable_http_client(url, http_client=http), cache=None) as client,
    ):
        yield client


def _resolved(values: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """`values` with "$NAME" replaced by our environment's NAME. Raises Unavailable."""
    for name in (name for value in values.values() for name in _OURS.findall(value)):
        if not environ.get(name):
            raise Unavailable(f"Set {name} in the environment: the MCP server needs it.")
    return {key: _OURS.sub(lambda found: environ[found[1]], value) for key, value in values.items()}


async def _tools(client: Client) -> list[types.Tool]:
    page = await client.list_tools()
    tools = list(page.tools)
    for _ in range(MAX_PAGES - 1):
        if not page.next_cursor:
            break
        page = await client.list_tools(cursor=page.next_cursor)
        tools += page.tools
    return tools


def _text(result: types.CallToolResult) -> str:
    """The texts of a result; of pictures and the like only that they were there; data when there is nothing else."""
    if not result.content and result.structured_content is not None:
        return str(result.structured_content)
    return "\n".join(_line(block) for block in result.content)


def _line(block: types.ContentBlock) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.EmbeddedResource(resource=types.TextResourceContents(text=text)):
            return text
        case types.ResourceLink():
            return str(block.uri)
    return f"[{block.type} left out]"


def _unavailable(error: Exception) -> Unavailable:
    match error:
        case Unavailable():
            return error
        case FileNotFoundError():
            return Unavailable("The MCP server's command was not found: check 'command'.")
        case TimeoutError():
            return Unavailable(f"The MCP server did not answer within {CONNECT_TIMEOUT:g} s: see its own log.")
    return Unavailable(f"The MCP server could not be reached ({type(error).__name__}): is it running?")
