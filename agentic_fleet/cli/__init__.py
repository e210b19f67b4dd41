"""The command line: `python -m agentic_fleet` and `scripts/ask`. Clients like any other, over HTTP."""
