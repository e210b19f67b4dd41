"""The libraries of the extra `testing`, or an error that says how to get them."""

try:
    import httpx
    import httpx_sse
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"agentic_fleet.testing needs {error.name}: install the extra, .venv/bin/pip install -e '.[testing]'",
        name=error.name,
    ) from None

__all__ = ["httpx", "httpx_sse"]
