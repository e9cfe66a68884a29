"""What a network does to a call: over real sockets, with a go-between that loses answers."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import ModuleType
from typing import Any, TypeAlias

import pytest
import trio
from attrs import define, evolve, field

from aq import Client
from aq import client as aq_client
from benchmarks.fuzz.exchange import Answers
from tests.client.faces import FACES, go, service
from tests.server.serve_world import KEY

FAR: Any = {"webhook_url": "http://127.0.0.1:9/x", "delay": 3600}
Handler: TypeAlias = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def peer(handler: Handler) -> AsyncIterator[str]:
    """A server that does as the handler says with each connection."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await handler(stream)
        except trio.BrokenResourceError:
            pass  # the client has left

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@define
class GoBetween:
    """Passes requests on and their answers back; of the first some it loses one or the other."""

    port: int
    loses: str
    times: int = 1
    seen: list[bytes] = field(factory=list)

    async def __call__(self, stream: trio.SocketStream) -> None:
        while request := await whole_request(stream):
            self.seen.append(request)
            loses = self.loses if len(self.seen) <= self.times else "nothing"
            answer = b"" if loses == "request" else await self.passed(request)
            if loses == "gateway":
                answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nsorry"
            elif loses != "nothing":
                await stream.send_all(answer[:-5] if loses == "half" else b"")
                return
            await stream.send_all(answer)

    async def passed(self, request: bytes) -> bytes:
        """The service's answer."""
        answers, data = Answers(None), b""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as service:
            await service.send_all(request)
            while not answers.whole:
                piece = bytes(await service.receive_some())
                answers.receive(piece)
                data += piece
        return data


async def whole_request(stream: trio.SocketStream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := bytes(await stream.receive_some())):
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


def at_once(client: Any) -> Any:
    """The client, without waits before its retries."""
    client.tasks._core = evolve(client.tasks._core, chance=lambda: 0.0)
    return client


@pytest.mark.parametrize("loses", ["request", "answer", "half", "gateway"])
async def test_whatever_is_lost_a_task_is_made_once(face: Any, loses: str) -> None:
    async with service() as server:
        between = GoBetween(int(server.url.rpartition(":")[2]), loses, times=2)
        async with peer(between) as url:

            async def scenario(client: Any) -> None:
                made = await go(at_once(client).tasks.create(queue="q", **FAR))
                batch = await go(client.tasks.create_batch([{"queue": "q", **FAR}] * 3))
                listed = [task.id for task in await go(client.tasks.list())]
                assert listed == [*(task.id for task in reversed(batch)), made.id]

            await face(scenario, url, KEY)
        assert len(between.seen) == 5
        keys = [
            line
            for request in between.seen
            for line in request.split(b"\r\n")
            if line.lower().startswith(b"idempotency-key: ")
        ]
        assert keys[0] == keys[1] == keys[2] != keys[3]


async def test_a_busy_service_is_asked_again_as_it_wishes(face: Any) -> None:
    async with service() as server:
        passed = GoBetween(int(server.url.rpartition(":")[2]), "nothing", times=0)
        busy = [b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"]

        async def handler(stream: trio.SocketStream) -> None:
            if busy:
                await whole_request(stream)
                await stream.send_all(busy.pop())
            else:
                await passed(stream)

        async with peer(handler) as url:

            async def scenario(client: Any) -> None:
                made = await go(at_once(client).tasks.create(queue="q", **FAR))
                assert [task.id for task in await go(client.tasks.list())] == [made.id]

            await face(scenario, url, KEY)
        assert busy == []


async def test_nobody_there(face: Any) -> None:
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        async def scenario(client: Any) -> None:
            with pytest.raises(aq_client.ConnectionFailed, match="cannot reach http://127") as caught:
                await go(at_once(client).tasks.create(queue="q", **FAR))
            assert caught.value.sent is False
            assert caught.value.idempotency_key is not None

        await face(scenario, url, KEY)


async def drip(stream: trio.SocketStream) -> None:
    """An answer that never ends."""
    await whole_request(stream)
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await stream.send_all(b" ")
        await trio.sleep(0.02)


async def hold(stream: trio.SocketStream) -> None:
    """No answer."""
    await whole_request(stream)
    await trio.sleep_forever()


@pytest.mark.parametrize("handler", [drip, hold])
async def test_no_answer_in_time(face: Any, handler: Handler) -> None:
    async with peer(handler) as url:

        async def scenario(client: Any) -> None:
            with pytest.raises(
                aq_client.TimedOut, match=r"no answer from http://127\.0\.0\.1:\d+ within 0\.2 s"
            ):
                await go(client.tasks.list().page())

        await face(scenario, url, KEY, timeout=0.2, max_retries=0)


async def flood(stream: trio.SocketStream) -> None:
    await whole_request(stream)
    await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        await stream.send_all(bytes(1 << 20))


async def test_an_answer_without_end_is_not_kept(face: Any) -> None:
    async with peer(flood) as url:

        async def scenario(client: Any) -> None:
            with pytest.raises(aq_client.UnexpectedAnswer, match="more than 64 MiB"):
                await go(client.tasks.get("task_1"))

        await face(scenario, url, KEY, timeout=60)


async def test_the_call_is_over_when_its_task_is_cancelled() -> None:
    async with peer(hold) as url:

        async def scenario(client: Any) -> None:
            with trio.move_on_after(0.05) as scope:
                await client.tasks.list().page()
            assert scope.cancelled_caught

        await FACES[1](scenario, url, KEY)


def test_another_library_of_the_same_form_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("otherhttp")
    kinds = (
        "TransportError",
        "TimeoutException",
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
    )
    for name in kinds:
        vars(library)[name] = type(name, (Exception,), {})
    monkeypatch.setitem(sys.modules, "otherhttp", library)

    class Other:
        __module__ = "otherhttp.client"

        def build_request(self, method: str, url: str, **options: Any) -> str:
            return f"{method} {url}"

        def send(self, request: str, **options: Any) -> Any:
            raise vars(library)["ConnectError" if "queues" in request else "TimeoutException"]("no")

        def close(self) -> None:
            raise AssertionError("it is not ours to close")

    class Mine(Other):
        """A kind of one's own is of the library that it is made of."""

    with Client("http://a", KEY, max_retries=0, http_client=Mine()) as client:
        with pytest.raises(aq_client.ConnectionFailed):
            client.queues.list()
        with pytest.raises(aq_client.TimedOut):
            client.schedules.list()
