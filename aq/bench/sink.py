"""A webhook receiver that is never the bottleneck: says 200 to everything and counts, as fast as Python can.

python -m aq.bench.sink     prints its port, then serves until its stdin is closed

A body that carries the moment it was meant for (`aq.bench.plan`) is counted by its age on arrival, and as
early where that moment is still to come. A POST to a path that begins with ``/hang`` is never answered.

GET /-/seen?arrivals=N&seconds=S    what was seen (`Seen`), once N have arrived or S seconds have passed
GET /-/reset                        the same, and count anew
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs, urlsplit

import cattrs
import httptools
from attrs import define, field

from aq.bench.plan import MARK, WIDTH
from aq.bench.spread import Spread

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
_MARK: Final = MARK.encode()


@define
class Seen:
    """``first`` and ``last`` are moments of the monotonic clock."""

    arrivals: int = 0
    early: int = 0
    hanging: int = 0
    first: float = 0.0
    last: float = 0.0
    ages: Spread = field(factory=Spread)


class Sink:
    """What all connections have seen."""

    def __init__(self) -> None:
        self.seen = Seen()
        self._waiting: dict[asyncio.Event, int] = {}

    def arrived(self, data: bytes) -> None:
        now = time.perf_counter()
        seen = self.seen
        seen.arrivals += 1
        seen.first = seen.first or now
        seen.last = now
        place = data.find(_MARK)
        if place >= 0:
            place += len(_MARK)
            age = now - float(data[place : place + WIDTH])
            if age < 0:
                seen.early += 1
            seen.ages.add(age)
        for event, arrivals in self._waiting.items():
            if seen.arrivals >= arrivals:
                event.set()

    async def answer(self, path: str, query: dict[str, list[str]]) -> bytes:
        """The body of an answer about the sink itself."""
        if "arrivals" in query:
            event = asyncio.Event()
            self._waiting[event] = arrivals = int(query["arrivals"][0])
            if self.seen.arrivals < arrivals:
                with suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), float(query["seconds"][0]))
            del self._waiting[event]
        told = json.dumps(cattrs.unstructure(self.seen)).encode()
        if path == "/-/reset":
            self.seen = Seen()
        return told


class _Connection(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._data = b""
        self._asking: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_complete(self) -> None:
        data, self._data = self._data, b""
        if self._url.startswith(b"/-/"):
            self._asking = asyncio.get_running_loop().create_task(self._answer(self._url.decode()))
        elif self._url.startswith(b"/hang"):
            self._sink.seen.hanging += 1
        else:
            self._transport.write(OK)
            self._sink.arrived(data)

    async def _answer(self, url: str) -> None:
        parts = urlsplit(url)
        body = await self._sink.answer(parts.path, parse_qs(parts.query))
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def serve() -> None:
    sink, loop, over = Sink(), asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(lambda: _Connection(sink), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  # whoever started it reads this
    loop.add_reader(sys.stdin, over.set)  # nothing is said there: it is closed when that process ends
    await over.wait()


if __name__ == "__main__":
    asyncio.run(serve())
