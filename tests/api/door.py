"""The API behind its front door, over real sockets on loopback, and everything that its storage holds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import frozen

from aq.api.front import Front, open_front, open_listeners
from aq.storage.memory import MemoryStorage
from benchmarks.fuzz.exchange import Answer, Answers
from tests.api.api_world import KEY, LANE, URL, Api, open_api

HEADERS = f"Host: a\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n".encode()
TASK = json.dumps({"queue": "q", "webhook_url": URL, "delay": 3600}).encode()


@frozen
class Deaf(trio.abc.Listener[trio.SocketStream]):
    """A listener that never has time to accept anybody."""

    socket: trio.socket.SocketType

    async def accept(self) -> trio.SocketStream:
        await trio.sleep_forever()

    async def aclose(self) -> None:
        self.socket.close()
        await trio.lowlevel.checkpoint()


@frozen
class Door:
    api: Api
    front: Front
    port: int
    storage: MemoryStorage

    async def send(self, data: bytes) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(data)
        return stream

    async def exchange(self, data: bytes, methods: Sequence[str] = ()) -> list[Answer]:
        """Everything that comes back until the server closes, or resets; ``methods`` matter for HEAD."""
        answers = Answers(methods)
        with trio.fail_after(30):
            async with await self.send(b"") as stream, trio.open_nursery() as nursery:
                nursery.start_soon(self._send_all, stream, data)
                async for part in stream:
                    answers.receive(bytes(part))
                nursery.cancel_scope.cancel()
        assert not answers.begun
        return answers.whole

    async def _send_all(self, stream: trio.SocketStream, data: bytes) -> None:
        try:
            await stream.send_all(data)
        except trio.BrokenResourceError:
            return  # refused before its end: the answer tells

    def stored(self) -> dict[str, str]:
        """Every table of the storage: tasks, counts, queues, claims, keys, schedules, and walks over them."""
        return {name: repr(table) for name, table in vars(self.storage._tables).items()}


@asynccontextmanager
async def open_door(*, deaf: bool = False) -> AsyncIterator[Door]:
    """With the lane, unless a test says otherwise; ``deaf`` is one that accepts nobody before its end."""
    listeners: Sequence[Any] = await open_listeners("127.0.0.1", 0)
    if deaf:
        listeners = [Deaf(listener.socket) for listener in listeners]
    port = listeners[0].socket.getsockname()[1]
    storage = MemoryStorage()
    async with (
        open_api(storage=storage) as api,
        open_front(api.app, listeners, lane=None if LANE.get() is False else api.lane) as front,
    ):
        yield Door(api, front, port, storage)


def post(body: bytes, headers: bytes = b"Connection: close\r\n", path: bytes = b"/v1/tasks") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + HEADERS + length + headers + b"\r\n" + body
