"""AgenticFleet: one chat message in, a supervised team of agents at work, every step streamed out.

The rooms, and what may import what (downwards only; tests/test_architecture.py enforces it)::

    app.py       the process: opens the rooms, owns the signals
    cli/         typing: the commands              (a client like any other; rich and aiohttp)
    testing/     for tests, ours and other people's    (uvicorn, httpx and websockets; nothing here imports it)
    web/         talking: HTTP, SSE, WebSocket         (Starlette lives here)
    learning/    getting better: history, optimisation (DSPy, for examples and optimisers)
    workflows/   thinking: the team                    (Agent Framework and DSPy live here)
    runs/        running: one scope, one log per run   (anyio and nothing else)
    store/       memory that lasts                     (the database driver lives here)
    plain data   events, turns, conversations, jsontext, settings, proxies, context, errors

The path of one message: ``web`` checks the words and calls ``runs.start``; ``runs`` gives the run a scope and calls
the workflow; the workflow emits events; ``runs`` numbers them, has ``store`` keep them and then shows them in its
log; every watcher reads that log from its own cursor, and ``web`` writes the ready bytes to the client.
"""

__version__ = "0.1.0"
