"""Slow, silent and malformed clients, in virtual time over streams in memory. Hypercorn serves an app."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h11
import pytest
import trio
import trio.testing
from attrs import define, field, frozen

from aq.api.front import Front, open_front
from tests.api.streams import ServerSide

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@define
class App:
    """Answers every request with its body; one whose path is /held waits for `go`."""

    seen: list[str] = field(factory=list)
    cancelled: list[str] = field(factory=list)
    go: trio.Event = field(factory=trio.Event)
    arrived: trio.Event = field(factory=trio.Event)
    size: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        body = (await receive())["body"]
        self.seen.append(scope["path"])
        self.arrived.set()
        if scope["path"] == "/held":
            await self._hold(receive)
        body = body or b"x" * self.size
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _hold(self, receive: Any) -> None:
        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.cancelled.append("/held")
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await self.go.wait()
            nursery.cancel_scope.cancel()

    async def _live(self, receive: Any, send: Any) -> None:
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})


@define
class Client:
    """The other end of a connection."""

    stream: trio.StapledStream[Any, Any]
    received: bytes = b""
    ended: trio.Event = field(factory=trio.Event)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)
        await trio.testing.wait_all_tasks_blocked()

    async def listen(self) -> None:
        try:
            async for data in self.stream:
                self.received += data
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.received += b""
        self.ended.set()

    def answers(self, *methods: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
        """What came back, read as answers to GETs (or POSTs, which makes no difference)."""
        rest, found = self.received, []
        while rest:
            parser = h11.Connection(h11.CLIENT)
            parser.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
            parser.send(h11.EndOfMessage())
            parser.receive_data(rest)
            status, headers, body = 0, {}, b""
            while not isinstance(event := parser.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Response | h11.InformationalResponse):
                    status, headers = event.status_code, dict(event.headers)
                    if status == 100:
                        found.append((100, headers, b""))
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    raise AssertionError(f"incomplete answer: {self.received!r}")
            found.append((status, headers, body))
            rest = parser.trailing_data[0]
        return found


@frozen
class World:
    app: App
    front: Front
    nursery: trio.Nursery

    def connect(self) -> Client:
        ours, theirs = trio.testing.memory_stream_pair()
        client = Client(ours)
        self.nursery.start_soon(self.front.serve, ServerSide(theirs))
        self.nursery.start_soon(client.listen)
        return client


@asynccontextmanager
async def world(**limits: Any) -> AsyncIterator[World]:
    app = App()
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery, open_front(app, [], **limits) as front:
            yield World(app, front, nursery)


async def elapsed(event: trio.Event) -> float:
    start = trio.current_time()
    await event.wait()
    return round(trio.current_time() - start, 3)


def problem_of(client: Client) -> dict[str, Any]:
    """The one answer, which must be a whole problem document on a connection that closes."""
    ((status, headers, body),) = client.answers()
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"] == b"close"
    assert len(headers[b"x-request-id"]) == 16
    document = json.loads(body)
    assert document["status"] == status
    assert document["error"]
    return dict(document)


async def test_a_request_is_answered_and_the_connection_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(GET)
        await client.send(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        assert [(status, body) for status, _, body in client.answers()] == [(200, b""), (200, b"{}")]
        assert not client.ended.is_set()


async def test_no_server_header(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(GET)
        assert b"server" not in client.answers()[0][1]


async def test_silence_in_a_head_is_408_after_10_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(GET[:-2])
        assert await elapsed(client.ended) == 10
        assert problem_of(client)["status"] == 408
        assert w.app.seen == []


async def test_silence_in_a_body_is_408_and_the_app_never_hears_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
        assert await elapsed(client.ended) == 10
        assert problem_of(client)["status"] == 408
        assert w.app.seen == []


async def test_a_dripping_request_is_408_30_seconds_after_its_first_byte(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        client = w.connect()
        start = trio.current_time()
        for byte in GET:
            if client.ended.is_set():
                break
            await client.stream.send_all(bytes([byte]))
            with trio.move_on_after(4):
                await client.ended.wait()
        assert trio.current_time() - start == 30
        assert problem_of(client)["status"] == 408


async def test_the_second_request_of_a_connection_has_its_own_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        client = w.connect()
        for _ in range(3):
            for piece in (GET[:5], GET[5:9], GET[9:]):
                await client.send(piece)
                await trio.sleep(9)
        assert len(client.answers()) == 3


async def test_an_idle_connection_is_closed_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        client, used = w.connect(), w.connect()
        await used.send(GET)
        assert await elapsed(client.ended) == 75
        await used.ended.wait()
        assert client.received == b""
        assert len(used.answers()) == 1


async def test_what_was_pipelined_is_not_begun_once_nobody_takes_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(GET.replace(b"/ ", b"/held ") + GET * 10)
        await client.stream.aclose()
        w.app.go.set()
        await w.front.wait_empty()
        assert w.app.seen == ["/held"]


async def test_a_slow_answer_is_not_cut_by_the_clients_timers(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(GET.replace(b"/ ", b"/held "))
        await trio.sleep(500)
        w.app.go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert client.answers()[0][0] == 200


async def test_pipelined_requests_are_answered_in_order(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(GET.replace(b"/ ", b"/held ") + GET + GET.replace(b"/ ", b"/3 ") + GET[:9])
        assert w.app.seen == ["/held"]
        w.app.go.set()
        assert await elapsed(client.ended) == 10
        assert w.app.seen == ["/held", "/", "/3"]
        assert [status for status, _, _ in client.answers()] == [200, 200, 200, 408]


async def test_a_bad_request_behind_good_ones_is_refused_in_its_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(GET.replace(b"/ ", b"/held ") + b"GET / HTTP/1.1\nHost: a\n\n")
        w.app.go.set()
        await client.ended.wait()
        assert [status for status, _, _ in client.answers()] == [200, 400]


async def test_a_client_that_waits_is_told_to_continue(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"{}")
        assert [status for status, _, _ in client.answers()] == [100, 200]


async def test_a_body_too_large_is_refused_before_it_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n"
        )
        assert problem_of(client)["status"] == 413


async def test_a_client_may_send_all_of_a_large_body_before_it_reads_the_refusal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
        for _ in range(30):
            await client.send(b"x" * 100_000)
        assert problem_of(client)["status"] == 413
        assert await elapsed(client.ended) <= 2


async def test_a_client_that_goes_away_cancels_the_handler(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(GET.replace(b"/ ", b"/held "))
        await client.stream.send_eof()
        await client.ended.wait()
        assert w.app.cancelled == ["/held"]
        await w.front.wait_empty()


async def test_a_client_that_closed_its_side_still_gets_a_quick_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        client = w.connect()
        await client.stream.send_all(GET + GET)
        await client.stream.send_eof()
        await client.ended.wait()
        assert len(client.answers()) == 2


async def test_a_request_cut_short_is_400(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        client = w.connect()
        await client.stream.send_all(GET[:9])
        await client.stream.send_eof()
        await client.ended.wait()
        assert problem_of(client)["status"] == 400


@pytest.mark.parametrize(
    "refused",
    [GET.replace(b"a", b".."), GET[:-2] + b"X: y\r\n" * 101 + b"\r\n", GET.replace(b"GET", b"GET " + GET)],
)
async def test_a_refusal_of_a_head_has_no_body(
    refused: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(GET + refused.replace(b"GET", b"HEAD"))
        await client.ended.wait()
        first, _, refusal = client.received.partition(b"HTTP/1.1 4")
        assert first.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in refusal
        assert refusal.endswith(b"\r\n\r\n")


async def test_http_1_0_and_connection_close_end_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        for request in (
            GET.replace(b"1.1", b"1.0"),
            GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        ):
            client = w.connect()
            await client.send(request)
            await client.ended.wait()
            assert client.answers()[0][0] == 200
        await w.front.wait_empty()


async def test_one_connection_too_many_is_503(autojump_clock: trio.testing.MockClock) -> None:
    async with world(max_connections=1) as w:
        first = w.connect()
        await first.send(GET)
        second = w.connect()
        await second.ended.wait()
        assert problem_of(second)["status"] == 503
        assert second.answers()[0][1][b"retry-after"] == b"1"
        await first.send(GET)
        assert len(first.answers()) == 2


async def test_closed_connections_leave_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        for data in (GET, GET[:9], b"\n"):
            client = w.connect()
            await client.send(data)
            await client.stream.aclose()
        await w.front.wait_empty()
        assert w.front.connections == 0


async def test_leaving_lets_an_answer_finish_and_closes_idle_connections(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        async with world() as w:
            idle, busy = w.connect(), w.connect()
            await idle.send(GET)
            await busy.send(GET.replace(b"/ ", b"/held "))

            async def finish_later() -> None:
                await idle.ended.wait()
                w.app.go.set()

            nursery.start_soon(finish_later)
        assert busy.answers()[0][0] == 200
        assert trio.current_time() < 1


async def test_a_request_in_hand_is_answered_at_whatever_step_the_end_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen = 0
    for steps in range(40):
        async with world() as w:
            client = w.connect()
            await trio.testing.wait_all_tasks_blocked()
            w.nursery.start_soon(client.stream.send_all, GET.replace(b"/ ", b"/held "))
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            w.front.end_soon()
            await trio.testing.wait_all_tasks_blocked()
            w.app.go.set()
            await client.ended.wait()
        assert not w.app.cancelled
        assert [status for status, _, _ in client.answers()] == [200] * len(w.app.seen)
        seen += len(w.app.seen)
    assert 20 < seen < 40


async def test_a_client_that_stops_reading_does_not_hold_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        w.app.size = 1_000_000
        ours, theirs = trio.testing.lockstep_stream_pair()
        w.nursery.start_soon(w.front.serve, ServerSide(theirs))
        await ours.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        assert w.front.connections == 1
    assert 2 <= trio.current_time() < 2.1


async def test_a_client_that_stops_reading_is_given_up_after_15_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        w.app.size = 1_000_000
        ours, theirs = trio.testing.lockstep_stream_pair()
        w.nursery.start_soon(w.front.serve, ServerSide(theirs))
        start = trio.current_time()
        await ours.send_all(GET)
        await w.front.wait_empty()
        assert trio.current_time() - start == 15
