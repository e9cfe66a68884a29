"""A closed-loop HTTP client that costs little: so many connections, each with one request in flight."""

from __future__ import annotations

import asyncio
import time

import httptools


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is whole."""

    def __init__(self, load: Load) -> None:
        self.load = load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.parser = httptools.HttpResponseParser(self)
        self.next()

    def next(self) -> None:
        if self.load.take():
            self.began = time.perf_counter()
            self.transport.write(self.load.request)
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.load.answered(self.parser.get_status_code(), time.perf_counter() - self.began)
        self.next()

    def connection_lost(self, error: Exception | None) -> None:
        self.load.lost()


class Load:
    """``count`` times the same request over so many connections. ``latencies`` are in seconds."""

    def __init__(self, request: bytes, count: int, connections: int) -> None:
        self.request = request
        self.left = count
        self.connections = connections
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}

    async def run(self, port: int) -> float:
        """Answers per second."""
        self.done = asyncio.Event()
        self.open = self.connections
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        for _ in range(self.connections):
            await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
        await self.done.wait()
        return len(self.latencies) / (time.perf_counter() - began)

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def answered(self, status: int, seconds: float) -> None:
        self.latencies.append(seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def lost(self) -> None:
        self.open -= 1
        if not self.open:
            self.done.set()
