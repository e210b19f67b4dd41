"""A browser's tab over HTTP/2: streams on one connection, each of which it can close by itself (RST_STREAM, RFC 9113),
as a page does when it closes an EventSource. httpx forgets a stream that it leaves, and tells nobody."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import h2.config
import h2.connection
import h2.errors
import h2.events
from anyio.streams.tls import TLSStream

from tests.edge.fronts import trusting


class Tab:
    def __init__(self, wire: TLSStream, authority: str) -> None:
        self._wire = wire
        self._authority = authority
        self._state = h2.connection.H2Connection(h2.config.H2Configuration())
        self._state.initiate_connection()
        self._said: defaultdict[int, bytes] = defaultdict(bytes)

    async def open(self, path: str) -> int:
        stream = self._state.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "https", ":authority": self._authority, ":path": path}
        self._state.send_headers(stream, list(head.items()), end_stream=True)
        await self._flush()
        return stream

    async def close(self, stream: int) -> None:
        self._state.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        await self._flush()

    async def until(self, stream: int, text: bytes) -> bytes:
        """What the stream has said when it has said `text`."""
        while text not in self._said[stream]:
            for event in self._state.receive_data(await self._wire.receive()):
                if isinstance(event, h2.events.DataReceived):
                    self._said[event.stream_id] += event.data
                    self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            await self._flush()
        return self._said[stream]

    async def _flush(self) -> None:
        await self._wire.send(self._state.data_to_send())


@asynccontextmanager
async def tab(url: str) -> AsyncIterator[Tab]:
    place, context = urlsplit(url), trusting()
    context.set_alpn_protocols(["h2"])
    host, port = place.hostname or "", place.port or 0
    async with await anyio.connect_tcp(host, port, ssl_context=context, tls_standard_compatible=False) as wire:
        yield Tab(wire, place.netloc)
