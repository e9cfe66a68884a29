"""Many clients at once, much from one, and a byte each second: little is held, and the others are served."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.api.test_connection import GET, problem_of, world

BEGUN = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n"


async def test_bodies_beyond_the_room_for_all_are_503_and_the_others_are_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world(max_held_bytes=200_000) as w:
        senders = [w.connect() for _ in range(5)]
        for client in senders:
            await client.send(BEGUN + b"x" * 45_000)
        late = senders.pop()
        await late.ended.wait()
        assert problem_of(late)["status"] == 503
        assert late.answers()[0][1][b"retry-after"] == b"1"
        assert w.front.held_bytes <= 200_000
        for client in senders:
            await client.send(b"x" * 5_000)
            assert [(status, len(body)) for status, _, body in client.answers()] == [(200, 50_000)]
        assert w.front.held_bytes == 0
        again = w.connect()
        await again.send(BEGUN + b"x" * 50_000)
        assert again.answers()[0][0] == 200


async def test_a_request_takes_its_room_until_it_is_answered_and_shuts_out_no_small_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world(max_held_bytes=201_000) as w:
        held = [w.connect() for _ in range(4)]
        for client in held:
            await client.send(BEGUN.replace(b"/ ", b"/held ") + b"x" * 50_000)
        late, small = w.connect(), w.connect()
        await late.send(BEGUN + b"x" * 40_000)
        await late.ended.wait()
        assert problem_of(late)["status"] == 503
        await small.send(BEGUN.replace(b"50000", b"30000") + b"x" * 30_000)
        assert small.answers()[0][0] == 200
        w.app.go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert [client.answers()[0][0] for client in held] == [200] * 4
        assert w.front.held_bytes == 0


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (GET[:-2], b"X: y\r\n" * 12_000),
        (GET[:-2] + b"X: ", b"x" * 12_000),
        (b"GET /", b"x" * 12_000),
        (BEGUN.replace(b"50000", b"9999999"), b"x" * 12_000),
        (BEGUN.replace(b"Content-Length: 50000", b"Transfer-Encoding: chunked") + b"1;", b"x" * 12_000),
        (
            BEGUN.replace(b"Content-Length: 50000", b"Transfer-Encoding: chunked") + b"0\r\n",
            b"T: y\r\n" * 2_000,
        ),
        (GET.replace(b"/ ", b"/held "), GET * 1_000),
    ],
    ids=["headers", "a header", "target", "body", "extension", "trailers", "pipeline"],
)
async def test_however_much_comes_little_is_held(
    start: bytes, more: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with world() as w:
        client = w.connect()
        await client.send(start)
        most = 0
        with trio.move_on_after(1):
            for _ in range(80):
                await client.send(more)
                most = max(most, w.front.held_bytes)
        assert most <= (16 << 10) + (64 << 10) + len(start)
        await client.stream.aclose()
        w.app.go.set()
        await w.front.wait_empty()
        assert w.front.held_bytes == 0


async def test_1000_idle_connections_are_closed_and_others_served_meanwhile(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as w:
        idle = [w.connect() for _ in range(1_000)]
        await trio.testing.wait_all_tasks_blocked()
        assert w.front.connections == 1_000
        client = w.connect()
        await client.send(GET)
        assert client.answers()[0][0] == 200
        await w.front.wait_empty()
        assert trio.current_time() == 75
        assert all(silent.ended.is_set() and not silent.received for silent in idle)


@pytest.mark.parametrize(
    "slow",
    [
        GET[:-2] + b"X: " + b"x" * 100,
        BEGUN + b"x" * 100,
        BEGUN.replace(b"Content-Length: 50000", b"Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 20,
        BEGUN.replace(b"Content-Length: 50000", b"Transfer-Encoding: chunked") + b"0\r\n" + b"T: x\r\n" * 20,
    ],
    ids=["head", "body", "chunks", "trailers"],
)
async def test_a_byte_each_second_does_not_hold_a_connection_beyond_30_seconds(
    slow: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with world() as w:
        client = w.connect()
        for byte in slow:
            if client.ended.is_set():
                break
            await client.stream.send_all(bytes([byte]))
            with trio.move_on_after(1):
                await client.ended.wait()
        assert trio.current_time() == 30
        assert problem_of(client)["status"] == 408
        assert w.app.seen == []
