"""GET /v1/events: what a client of the stream is sent, and when its stream ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define

from aq.api import events
from aq.api.front import open_front
from aq.task import Environment, QueueKey
from tests.api.api_world import KEY, Api, check_problem, open_api
from tests.api.streams import ServerSide
from tests.api.test_connection import Client

A, B = QueueKey(Environment.LIVE, "a"), QueueKey(Environment.LIVE, "b")
SANDBOX = QueueKey(Environment.TEST, "a")
AT = 1_800_000_000_000_000


@define
class Block:
    """One block of a stream: up to an empty line."""

    event: str | None = None
    id: str | None = None
    data: Any = None
    comment: str | None = None

    @classmethod
    def of(cls, text: str) -> Block:
        block = cls()
        for line in text.split("\n"):
            name, _, value = line.partition(": ")
            assert name in ("event", "id", "data", ""), line
            setattr(block, name or "comment", json.loads(value) if name == "data" else value)
        return block


BETWEEN = 10
"""Pieces that lie between the server and a client that takes none; then the server has to wait."""


class Listener:
    """A client of the app that takes the pieces of a stream one by one, so it may be slow."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.opened = Block()
        self._send, self._pieces = trio.open_memory_channel[bytes](BETWEEN)
        self._left = trio.Event()
        self._asked = False
        self._text = ""
        self._blocks: list[Block] = []

    async def next(self) -> Block:
        """The next block. Raises trio.EndOfChannel when the stream has ended."""
        while not self._blocks:
            self._text += (await self._pieces.receive()).decode()
            *whole, self._text = self._text.split("\n\n")
            self._blocks = [Block.of(text) for text in whole]
        return self._blocks.pop(0)

    async def rest(self) -> list[str | None]:
        """The names of all that comes until the end."""
        names = []
        try:
            while True:
                names.append((await self.next()).event)
        except trio.EndOfChannel:
            return names

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    # -- the app's side: ASGI -------------------------------------------------------------------------------
    async def receive(self) -> dict[str, Any]:
        if self._asked:
            await self._left.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().title(): value.decode() for name, value in message["headers"]}
        elif message["more_body"]:
            await self._send.send(message["body"])
        else:
            self._send.close()


@asynccontextmanager
async def listening(
    api: Api, query: str = "", *, key: str = KEY, after: str | None = None, limit: float = 1_000
) -> AsyncIterator[Listener]:
    """An open stream whose first block was taken; what is done with it takes at most ``limit`` seconds."""
    headers = {"X-API-Key": key} | ({} if after is None else {"Last-Event-ID": after})
    async with connected(api, "/v1/events", headers, query.removeprefix("?"), limit=limit) as listener:
        assert listener.opened.comment == "open"
        yield listener


@asynccontextmanager
async def connected(
    api: Api, path: str, headers: Mapping[str, str], query: str = "", *, limit: float = 1_000
) -> AsyncIterator[Listener]:
    """A client of any stream of the app, after its first block."""
    listener = Listener()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": query.encode(),
        "headers": [
            (name.lower().encode(), value.encode()) for name, value in {"Host": "a", **headers}.items()
        ],
    }
    app: Any = api.app
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app, scope, listener.receive, listener.send)
        with trio.fail_after(limit):
            listener.opened = await listener.next()
            yield listener
        listener.leave()


def publish(api: Api, key: QueueKey = A, task: str | None = None, **data: Any) -> str:
    """The id of the event."""
    api.engine.feed.publish("task.created", key, AT, task, **data)
    return f"{api.engine.feed.token}-{api.engine.feed.last}"


async def restricted(api: Api, **fields: Any) -> str:
    _, text = await api.engine.keys.create("restricted", **fields)
    return text


async def test_a_stream_says_what_it_is() -> None:
    async with open_api() as api, listening(api) as listener:
        assert listener.status == 200
        headers = listener.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["X-Request-Id"]
        assert "Content-Length" not in headers


async def test_an_event_is_one_block_with_one_line_of_json() -> None:
    async with open_api() as api, listening(api) as listener:
        event_id = publish(api, task="task_1", reason="one\ntwo\r\n\r\nevent: forged", queue="forged")
        assert await listener.next() == Block(
            event="task.created",
            id=event_id,
            data={
                "task_id": "task_1",
                "queue": "a",
                "at": "2027-01-15T08:00:00.000000Z",
                "reason": "one\ntwo\r\n\r\nevent: forged",
            },
        )
        api.engine.feed.publish("queue.paused", A, AT)
        block = await listener.next()
        assert (block.event, set(block.data)) == ("queue.paused", {"queue", "at"})


async def test_the_life_of_a_task_is_told_as_it_happens() -> None:
    async with open_api() as api, listening(api, "?queue=q") as listener:
        task = await api.task(delay=0)
        api.runner.go.set()
        told: list[str] = []
        while not told or told[-1] != "task.completed":
            block = await listener.next()
            told.append(block.event or "")
            assert block.data["queue"] == "q"
            assert block.data.get("task_id", task["id"]) == task["id"]
        assert [name for name in told if name.startswith("task.")] == [
            "task.created",
            "task.started",
            "task.completed",
        ]


MINE, OTHER, NONE = ("task_" + letter * 26 for letter in "MTN")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("?queue=a", [1, 3]),
        ("?queue=b", [2, 4]),
        ("?queue=none", []),
        (f"?task={MINE}", [3, 4]),
        (f"?task={NONE}", []),
        (f"?task={MINE}&queue=a", [3]),
    ],
)
async def test_a_stream_is_of_what_was_asked_for(query: str, expected: list[int]) -> None:
    async with open_api() as api, listening(api, query) as listener:
        await trio.testing.wait_all_tasks_blocked()
        publish(api, A, n=1)
        publish(api, B, n=2)
        publish(api, A, MINE, n=3)
        publish(api, B, MINE, n=4)
        publish(api, SANDBOX, MINE, n=5)
        api.engine.feed.close()
        found = []
        while (block := await listener.next()).event != "end":
            found.append(block.data["n"])
        assert found == expected


@pytest.mark.parametrize(
    ("query", "fields", "expected"),
    [
        ("", {"environment": "test"}, ["test"]),
        ("?queue=a", {"environment": "test"}, ["test"]),
        (f"?task={MINE}", {"environment": "test"}, ["test"]),
        ("", {"queues": ["b"]}, ["b"]),
        ("?queue=a", {"queues": ["b"]}, []),
        ("?queue=b", {"queues": ["b"]}, ["b"]),
        (f"?task={MINE}", {"queues": ["b"]}, []),
        (f"?task={OTHER}", {"queues": ["b"]}, ["b"]),
    ],
)
async def test_a_key_is_told_only_of_what_it_may_see(
    query: str, fields: Mapping[str, Any], expected: list[str]
) -> None:
    """Whether it waits while things happen or comes back for them later."""
    async with open_api() as api:
        key = await restricted(api, **fields)
        start = f"{api.engine.feed.token}-{api.engine.feed.last}"
        async with listening(api, query, key=key) as listener:
            await trio.testing.wait_all_tasks_blocked()
            publish(api, A, MINE, where="a")
            publish(api, B, OTHER, where="b")
            publish(api, SANDBOX, MINE, where="test")
            publish(api, QueueKey(Environment.CALLBACK, "b"), OTHER, where="callback")
            async with listening(api, query, key=key, after=start) as later:
                api.engine.feed.close()
                for each in (listener, later):
                    found = []
                    while (block := await each.next()).event != "end":
                        found.append(block.data["where"])
                    assert found == expected


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("?bogus=1", {"bogus"}),
        ("?stats=2&queue=a%20b", {"stats", "queue"}),
        ("?stats=true", {"stats"}),
        ("?task=", {"task"}),
        ("?task=task_1", {"task"}),
        (f"?task={MINE.lower()}", {"task"}),
        (f"?task={MINE}&task={OTHER}", {"task"}),
    ],
)
async def test_422(query: str, fields: set[str]) -> None:
    async with open_api() as api:
        reply = await api.get(f"/v1/events{query}")
        check_problem(reply, 422)
        assert reply.fields == fields


async def test_a_client_that_comes_back_goes_on_behind_its_last_event() -> None:
    async with open_api() as api:
        ids = [publish(api, n=number) for number in range(4)]
        async with listening(api, after=ids[1]) as listener:
            assert [(await listener.next()).id for _ in range(2)] == ids[2:]
            new = publish(api)
            assert (await listener.next()).id == new


async def test_a_client_that_comes_back_too_late_is_told_and_given_what_is_kept() -> None:
    async with open_api() as api:
        first = publish(api)
        for _ in range(10_001):
            publish(api)
        async with listening(api, "?queue=a", after=first) as listener:
            missed = await listener.next()
            assert (missed.event, set(missed.data)) == ("missed", {"detail"})
            assert (await listener.next()).id == f"{api.engine.feed.token}-3"
        async with listening(api, after=missed.id) as listener:
            assert (await listener.next()).event == "task.created"  # it is not told again


@pytest.mark.parametrize("after", ["00deadbeef-7", "what is this"])
async def test_a_client_of_another_run_is_told_and_goes_on_from_now(after: str) -> None:
    async with open_api() as api:
        publish(api)
        async with listening(api, after=after) as listener:
            assert (await listener.next()).event == "missed"
            event_id = publish(api)
            assert (await listener.next()).id == event_id


async def test_a_place_is_told_also_without_an_event(autojump_clock: trio.testing.MockClock) -> None:
    """So that a client whose filter lets little pass is not told that it missed something."""
    async with open_api() as api:
        before = publish(api)
        async with listening(api, "?queue=b") as listener:
            assert listener.opened.id == before
            await trio.testing.wait_all_tasks_blocked()
            other = publish(api, A)
            assert await listener.next() == Block(comment="keep-alive", id=other)


async def test_a_silent_stream_lives_on_comments(autojump_clock: trio.testing.MockClock) -> None:
    """Every 15 seconds, for hours: no timer of the server cuts it."""
    async with open_api() as api, listening(api, limit=10_000) as listener:
        start = trio.current_time()
        for number in range(1, 500):
            assert (await listener.next()).comment == "keep-alive"
            assert trio.current_time() - start == pytest.approx(15 * number)
        await trio.sleep(14)
        publish(api)
        assert (await listener.next()).event == "task.created"
        assert await elapsed_until(listener, "keep-alive") == pytest.approx(15)  # silence begins anew


async def elapsed_until(listener: Listener, comment: str) -> float:
    start = trio.current_time()
    assert (await listener.next()).comment == comment
    return trio.current_time() - start


class Steps(trio.abc.Instrument):
    """Counts how often tasks run that serve requests or listen for a revocation."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += any(name in task.name for name in ("TrioASGIHTTPConnection", "aq.api.events"))


async def test_an_idle_stream_costs_its_comments_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_api() as api, listening(api, "?queue=a", limit=10_000) as listener:
        await trio.testing.wait_all_tasks_blocked()
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        for number in range(100):
            await listener.next()
            await trio.testing.wait_all_tasks_blocked()
            publish(api, B, n=number)  # none of its business
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(steps)
        assert steps.count <= 2 * 100  # the timer, and the piece that goes out


async def test_a_client_slower_than_what_happens_is_dropped() -> None:
    async with open_api() as api, listening(api, "?queue=a") as listener:
        for _ in range(30):  # more pieces than lie between the server and a client that takes none
            publish(api, A)
            await trio.testing.wait_all_tasks_blocked()
        for _ in range(10_001):
            publish(api, A)
        names = await listener.rest()
        assert names[-1] == "dropped"
        assert names.count("task.created") < 31
        assert not held_streams(api)


async def test_the_stream_ends_with_the_feed() -> None:
    async with open_api() as api:
        async with listening(api) as listener:
            await trio.testing.wait_all_tasks_blocked()
            publish(api)
            api.engine.feed.close()
            assert await listener.rest() == ["task.created", "end"]
        async with listening(api) as listener:
            assert await listener.rest() == ["end"]
        assert not held_streams(api)


async def test_the_stream_ends_when_its_key_is_revoked(autojump_clock: trio.testing.MockClock) -> None:
    """At once, not with the next event or comment."""
    async with open_api() as api:
        key, text = await api.engine.keys.create("for a while")
        async with listening(api, key=text) as revoked, listening(api) as other:
            await trio.testing.wait_all_tasks_blocked()
            publish(api)
            assert (await revoked.next()).event == "task.created"
            await trio.testing.wait_all_tasks_blocked()
            start = trio.current_time()
            await api.engine.keys.revoke(key.id)
            end = await revoked.next()
            assert (end.event, end.data) == ("end", {"detail": "the API key was revoked"})
            assert await revoked.rest() == []
            assert trio.current_time() == start
            publish(api)
            assert [(await other.next()).event for _ in range(2)] == ["task.created"] * 2
        assert not held_streams(api)


async def test_what_happens_in_the_moment_of_a_revocation_is_no_longer_shown() -> None:
    async with open_api() as api:
        key, text = await api.engine.keys.create("for a while")
        async with listening(api, key=text) as listener:
            await trio.testing.wait_all_tasks_blocked()
            await api.engine.keys.revoke(key.id)
            publish(api)
            assert await listener.rest() == ["end"]


@pytest.mark.parametrize("waiting", [0, 20])
async def test_a_key_revoked_while_its_client_is_slow_shows_nothing_more(
    waiting: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Whether more events wait for the client to take what it was sent, or none."""
    on_their_way = BETWEEN + 1
    async with open_api() as api:
        key, text = await api.engine.keys.create("for a while")
        async with listening(api, key=text) as listener:
            for _ in range(on_their_way + waiting):
                publish(api)
                await trio.testing.wait_all_tasks_blocked()
            start = trio.current_time()
            await api.engine.keys.revoke(key.id)
            assert await listener.rest() == ["task.created"] * on_their_way + ["end"]
            assert trio.current_time() == start


def held_streams(api: Api) -> list[events.Stream]:
    """Streams that count towards the bound."""
    view: Any = api.app.view_functions["events"]
    return list(view.__self__.streams)


async def test_a_stream_that_has_ended_is_not_counted_whoever_remembers_it() -> None:
    async with open_api() as api:
        async with listening(api):
            (stream,) = held_streams(api)
        assert stream not in held_streams(api)


async def test_there_is_a_bound_on_open_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS", 2)
    async with open_api() as api, listening(api):
        async with listening(api):
            with trio.fail_after(20):
                reply = await api.get("/v1/events")
            check_problem(reply, 503)
            assert int(reply.headers["Retry-After"]) >= 1
        async with listening(api):
            assert len(held_streams(api)) == 2


async def test_a_head_request_gets_the_headers_and_holds_no_stream() -> None:
    async with open_api() as api:
        with trio.fail_after(20):
            reply = await api.call("HEAD", "/v1/events")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["Content-Type"] == "text/event-stream"
        assert not held_streams(api)


async def test_counts_once_a_second(autojump_clock: trio.testing.MockClock) -> None:
    async with open_api() as api, listening(api, "?stats=1") as listener:
        now = api.engine.clock.now
        api.engine.meter.count(A, now(), created=60, started=6)
        api.engine.meter.count(SANDBOX, now(), created=1)
        start = trio.current_time()
        block = await listener.next()
        assert (block.event, block.id) == ("stats", None)
        assert trio.current_time() - start == pytest.approx(1)
        assert block.data["queue"] is None
        assert block.data["at"].endswith("Z")
        assert block.data["last_second"] == {
            "created": 60,
            "started": 6,
            "completed": 0,
            "failed": 0,
            "retried": 0,
        }
        assert 60 / 71 < block.data["per_second"]["created"] <= 1
        api.engine.meter.count(B, now(), completed=3)
        second = (await listener.next()).data["last_second"]
        assert second == {"created": 0, "started": 0, "completed": 3, "failed": 0, "retried": 0}


@pytest.mark.parametrize(
    ("query", "fields", "created"),
    [
        ("?stats=1", {}, 3),
        ("?stats=1&queue=a", {}, 1),
        ("?stats=1", {"queues": ["b"]}, 2),
        ("?stats=1&queue=a", {"queues": ["b"]}, 0),
        ("?stats=1", {"environment": "test"}, 4),
    ],
)
async def test_counts_are_of_what_was_asked_for_and_may_be_seen(
    query: str, fields: Mapping[str, Any], created: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_api() as api, listening(api, query, key=await restricted(api, **fields)) as listener:
        for key, number in ((A, 1), (B, 2), (SANDBOX, 4)):
            api.engine.meter.count(key, api.engine.clock.now(), created=number)
        assert (await listener.next()).data["last_second"]["created"] == created


async def test_counts_do_not_keep_events_from_a_slow_client(autojump_clock: trio.testing.MockClock) -> None:
    """One that needs longer for each piece than lies between two readings, so that one is always due."""
    async with open_api() as api, listening(api, "?stats=1") as listener:
        await trio.sleep(100)  # nothing is taken, until nothing more is sent
        names = []
        for _ in range(60):
            publish(api)
            await trio.sleep(1.5)
            names.append((await listener.next()).event)
        assert names.count("task.created") > 10


async def test_counts_that_a_slow_client_had_no_time_for_are_not_made_up_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_api() as api, listening(api, "?stats=1") as listener:
        await trio.sleep(100)
        for _ in range(BETWEEN + 2):  # what was on its way, and the one that was due since
            await listener.next()
        for _ in range(3):
            start = trio.current_time()
            await listener.next()
            assert trio.current_time() - start == pytest.approx(1)


# -- behind the front room ----------------------------------------------------------------------------------
GET = f"GET /v1/events HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n".encode()


async def test_no_timer_of_the_connection_cuts_a_stream(autojump_clock: trio.testing.MockClock) -> None:
    async with open_api() as api, trio.open_nursery() as nursery, open_front(api.app, []) as front:
        ours, theirs = trio.testing.memory_stream_pair()
        client = Client(ours)
        nursery.start_soon(front.serve, ServerSide(theirs))
        nursery.start_soon(client.listen)
        await client.send(GET)
        assert client.received.startswith(b"HTTP/1.1 200")
        assert b": open\n" in client.received  # at once, not with the first event
        await trio.sleep(3_601)
        assert not client.ended.is_set()
        assert client.received.count(b": keep-alive\n") == 240
        publish(api)
        await trio.testing.wait_all_tasks_blocked()
        assert b"event: task.created\n" in client.received
        await client.stream.aclose()
        await front.wait_empty()
        assert not held_streams(api)


async def test_a_client_that_takes_nothing_holds_its_stream_for_15_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_api() as api, trio.open_nursery() as nursery, open_front(api.app, []) as front:
        ours, theirs = trio.testing.lockstep_stream_pair()
        nursery.start_soon(front.serve, ServerSide(theirs))
        await ours.send_all(GET)
        assert (await ours.receive_some()).startswith(b"HTTP/1.1 200")
        await trio.testing.wait_all_tasks_blocked()
        assert len(held_streams(api)) == 1
        publish(api)
        start = trio.current_time()
        await front.wait_empty()
        assert trio.current_time() - start <= 15
        assert not held_streams(api)


async def test_with_the_feed_closed_no_stream_holds_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async with open_api() as api, trio.open_nursery() as nursery:
        async with open_front(api.app, []) as front:
            ours, theirs = trio.testing.memory_stream_pair()
            client = Client(ours)
            nursery.start_soon(front.serve, ServerSide(theirs))
            nursery.start_soon(client.listen)
            await client.send(GET)
            api.engine.feed.close()
            start = trio.current_time()
        await client.ended.wait()
        assert client.received.endswith(b"0\r\n\r\n")  # the answer is whole
        assert b"event: end\n" in client.received
        assert trio.current_time() - start < 1
