"""Two apps that do nothing but pass a model's stream on, over SSE and WebSocket: what every design has to pay.

`python -m tests.load.floors openai|httpx MODEL_URL`: the first reads with the openai SDK and writes what comes to a
plain streaming response, the second passes lines from httpx to sse-starlette without looking at them. Both are served
as the service is: uvicorn, httptools, uvloop. They store nothing, and their readers cannot resume.
"""

import json
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import openai
import uvicorn
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

Source = Callable[[str], AsyncIterator[str]]


def by_openai(url: str) -> tuple[Source, Callable[[AsyncIterator[str]], Response]]:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=600, http_client=http)

    async def source(message: str) -> AsyncIterator[str]:
        stream = await client.chat.completions.create(
            model="load", messages=[{"role": "user", "content": message}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield json.dumps({"type": "response.delta", "delta": text}, separators=(",", ":"))
        yield json.dumps({"type": "done"}, separators=(",", ":"))

    async def frames(data: AsyncIterator[str]) -> AsyncIterator[str]:
        async for each in data:
            yield f"data: {each}\n\n"

    return source, lambda data: StreamingResponse(frames(data), media_type="text/event-stream")


def by_httpx(url: str) -> tuple[Source, Callable[[AsyncIterator[str]], Response]]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=1024)
    client = httpx.AsyncClient(limits=limits, timeout=600, trust_env=False)

    async def source(message: str) -> AsyncIterator[str]:
        body = {"model": "load", "messages": [{"role": "user", "content": message}], "stream": True}
        async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield line[6:]

    return source, EventSourceResponse


FLOORS = {"openai": by_openai, "httpx": by_httpx}


def floor(name: str, url: str) -> Starlette:
    source, response = FLOORS[name](url)

    async def sse(request: Request) -> Response:
        return response(source((await request.json())["message"]))

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        message: dict[str, Any] = await websocket.receive_json()
        async for data in source(message["message"]):
            await websocket.send_text(data)
        await websocket.close()

    return Starlette(routes=[Route("/sse", sse, methods=["POST"]), WebSocketRoute("/ws", chat)])


def main(name: str, url: str) -> None:
    logging.basicConfig(level=logging.WARNING)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"floor on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        floor(name, url),
        http="httptools",
        loop="uvloop",
        log_config=None,
        access_log=False,
        ws_per_message_deflate=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
