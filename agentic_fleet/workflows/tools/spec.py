"""A tool as `fleet.toml` describes it (the table [tools.NAME]), and the two ways in which tools let people down."""

from typing import Annotated

import msgspec

from agentic_fleet.errors import FleetError

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000, pattern=r"\S")]


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of `function`, `command` and `url` says what it is; none, when NAME is a built-in tool's.

    An MCP server (`command`, `url`) brings all its tools, or those in `only`; agents know them as NAME_TOOL.
    """

    name: str
    function: _Text | None = None  # "package.module:name" of a Python function, sync or async
    command: tuple[_Text, ...] = ()  # an MCP server's command line, spoken to over stdio
    env: dict[str, str] = {}  # added to that command's environment; "$NAME" is taken from ours
    url: _Text | None = None  # an MCP server's address (streamable HTTP)
    headers: dict[str, str] = {}  # sent to that address; "$NAME" is taken from our environment
    only: tuple[_Text, ...] = ()
    approval: bool = False  # a human must approve each call
    timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0  # seconds for one call


class ToolFailed(FleetError):
    """A call came to nothing. The text is what the model and the client are told."""


class Unavailable(FleetError):
    """A tool cannot work in this process. The text says what to do about it."""
