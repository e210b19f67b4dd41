"""A small MCP server: over stdio when run as a script, else as an ASGI app."""

import os
import sys
from typing import Any

from mcp.server.mcpserver import MCPServer


def build() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("sample")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def variable(name: str) -> str:
        """Tell an environment variable."""
        return os.environ.get(name, "")

    @server.tool()
    def fail() -> str:
        """Fail."""
        raise ValueError("The well is dry.")

    @server.tool()
    def pid() -> int:
        """Tell the process id."""
        return os.getpid()

    @server.tool(name="die.now")
    def die() -> str:
        """End the process at once."""
        os._exit(3)

    return server


if __name__ == "__main__":
    if sys.argv[1:] == ["mute"]:
        sys.stdin.read()
    build().run("stdio")
