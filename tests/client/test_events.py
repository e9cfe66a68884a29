"""The stream of events: as it comes from a service, and over breaks, ends and restarts, by a script."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import anyio
import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from aq import AsyncClient
from aq import client as aq_client
from aq.client.core import Open, Read, Sleep
from aq.client.events import Event, listener
from aq.client.sse import Message, Parser
from tests.client.faces import RECEIVER, go, service
from tests.client.script import World, broken, reply
from tests.server.serve_world import KEY

FAR: Any = {"webhook_url": "http://127.0.0.1:9/x", "delay": 3600}


async def heard(events: Any, count: int) -> list[Event]:
    """So many events of either kind of iterator."""
    if hasattr(events, "__anext__"):
        return [await anext(events) for _ in range(count)]
    return [next(events) for _ in range(count)]


async def test_events_come_as_they_happen_and_go_on_behind_one_that_was_heard(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            first = client.events(queue="q", last_event_id=None, stats=True)
            await heard(first, 1)  # the stream is open: what happens from here on is heard
            task = await go(client.tasks.create(queue="q", webhook_url=server.url + RECEIVER))
            await go(client.tasks.create(queue="other", **FAR))
            await go(client.tasks.wait(task.id, 10))
            told: list[Event] = []
            while not told or told[-1].name != "task.completed":
                told += [event for event in await heard(first, 1) if event.name != "stats"]
            await go(first.close() if hasattr(first, "close") else first.aclose())
            assert [it.name for it in told] == [
                "queue.created", "task.created", "task.started", "task.completed"
            ]  # fmt: skip
            assert {it.queue for it in told} == {"q"}
            assert {it.task_id for it in told[1:]} == {task.id}
            assert told[-1].data["attempt"] == 1
            assert all(it.at is not None and it.at >= task.created_at for it in told)
            again = client.events(queue="q", task=task.id, last_event_id=told[1].id)
            assert await heard(again, 2) == told[2:]
            await go(again.close() if hasattr(again, "close") else again.aclose())

        await face(scenario, server.url, KEY)


async def test_it_ends_with_an_error_where_trying_again_does_not_help(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            with pytest.raises(aq_client.AuthenticationError):
                await heard(client.events(), 1)
            with pytest.raises(ValueError, match="must be the id of an event"):
                client.events(last_event_id="a\r\nb: c")

        await face(scenario, server.url, "aq_live_nobody")


async def on_trio(function: Callable[[], Any]) -> None:
    await function()


async def on_asyncio(function: Callable[[], Any]) -> None:
    await trio.to_thread.run_sync(asyncio.run, function())


@pytest.mark.parametrize("loop", [on_trio, on_asyncio])
async def test_what_is_left_in_the_middle_leaves_nothing_behind(loop: Any) -> None:
    async with service() as server:

        async def leave() -> None:
            async with AsyncClient(server.url, KEY) as client, client.events(stats=True) as events:
                async for _ in events:
                    break
            gc.collect()

        await loop(leave)


@pytest.mark.parametrize("loop", [on_trio, on_asyncio])
async def test_a_wait_for_an_event_that_is_cancelled_loses_none(loop: Any) -> None:
    async with service() as server:

        async def listen() -> None:
            client = AsyncClient(server.url, KEY)
            client._core = evolve(client._core, chance=lambda: 0.0)  # it comes back at once
            async with client, client.events(queue="q", stats=True) as events:
                await anext(events)
                names = []
                made = [await client.tasks.create(queue="q", **FAR)]
                for tries in range(20):
                    with anyio.move_on_after(0.001 * tries):
                        while True:
                            event = await anext(events)
                            if event.name == "task.created":
                                names.append(event.task_id)
                    made.append(await client.tasks.create(queue="q", **FAR))
                while len(names) < len(made):
                    event = await anext(events)
                    if event.name == "task.created":
                        names.append(event.task_id)
                assert names == [task.id for task in made]

        await loop(listen)


# -- by a script --------------------------------------------------------------------------------------------
OPEN = reply(200, None)
FIRST = b": open\nid: 1-0\n\n"


def event(number: int, name: str = "task.created") -> bytes:
    return b'event: %b\nid: 1-%d\ndata: {"queue":"q","n":%d}\n\n' % (name.encode(), number, number)


class Heard:
    """Listens by a script: a `Reply` opens a stream, bytes are its pieces, b"" its end; errors are raised."""

    def __init__(self, *script: Any, **options: Any) -> None:
        self.world, self.script = World.of(), list(script)
        core = self.world.core(**{name: it for name, it in options.items() if name != "patience"})
        self.flow = listener(core, {}, options.get("place"), options.get("patience", 300)).listen()
        self.places: list[str | None] = []

    def __iter__(self) -> Iterator[int]:
        """The numbers of the events that are heard, until the script is over."""
        step: Any = next(self.flow)
        while True:
            if isinstance(step, Event):
                yield step.data["n"]
                step = self.flow.send(None)
            elif isinstance(step, Sleep):
                self.world.slept.append(step.seconds)
                self.world.now += step.seconds
                step = self.flow.send(None)
            elif not self.script:
                return
            else:
                step = self._answered(step)

    def _answered(self, step: Open | Read) -> Any:
        if isinstance(step, Open):
            self.places.append(step.request.headers.get("Last-Event-ID"))
        answer = self.script.pop(0)
        return self.flow.throw(answer) if isinstance(answer, Exception) else self.flow.send(answer)


def test_a_stream_that_breaks_goes_on_where_it_was() -> None:
    heard = Heard(OPEN, FIRST, event(1) + event(2)[:-9], broken(), OPEN, event(2), b"", OPEN, FIRST, event(3))
    assert list(heard) == [1, 2, 3]
    assert heard.places == [None, "1-1", "1-2"]


def test_a_place_without_an_event_is_one_to_go_on_from() -> None:
    heard = Heard(OPEN, b"id: 1-7\n\n", b"id: 1-8\n", broken(), OPEN)
    assert list(heard) == []
    assert heard.places == [None, "1-7"]


def test_an_end_that_is_told_is_no_event() -> None:
    heard = Heard(OPEN, FIRST, event(1), event(2, "dropped"), b"", OPEN, event(3, "end"), b"", OPEN, event(4))
    assert list(heard) == [1, 4]
    assert heard.places == [None, "1-2", "1-3"]


def test_the_first_connection_has_the_tries_of_any_call() -> None:
    heard = Heard(broken(sent=False), broken(sent=False), broken(sent=False))
    with pytest.raises(aq_client.ConnectionFailed):
        list(heard)
    assert heard.script == []
    assert heard.world.slept == [0.5, 1]


def test_one_that_was_heard_is_waited_for_while_patience_lasts() -> None:
    heard = Heard(OPEN, FIRST, event(1), *[broken(sent=False)] * 99, patience=60)
    with pytest.raises(aq_client.ConnectionFailed):
        list(heard)
    assert 60 < sum(heard.world.slept) <= 68
    assert max(heard.world.slept) == 8
    alive = Heard(OPEN, FIRST, *[broken(), OPEN, FIRST, event(1)] * 50, patience=10)
    assert list(alive) == [1] * 50


def test_a_service_that_ends_every_stream_is_not_asked_without_pause() -> None:
    heard = Heard(*[OPEN, FIRST, b""] * 5)
    assert list(heard) == []
    assert heard.world.slept == [0.5, 1, 2, 4, 8]


def test_what_will_not_be_better_is_told_at_once() -> None:
    heard = Heard(OPEN, FIRST, event(1), b"", reply(401, {"detail": "revoked"}))
    with pytest.raises(aq_client.AuthenticationError, match="revoked"):
        list(heard)
    full = Heard(reply(503, None, retry_after="10"), OPEN, event(1))
    assert list(full) == [1]
    assert full.world.slept == [10.5]
    with pytest.raises(aq_client.UnexpectedAnswer):
        list(Heard(OPEN, b"event: x\ndata: <html>\n\n"))


# -- the format ---------------------------------------------------------------------------------------------
STREAM = (
    b"\xef\xbb\xbf: hello\r\n\r\nevent: a\rid: 1\rdata: x\r\rdata:y\ndata: z\n\nid: 2\n\nid: 3\n"
    b"foo: bar\nretry: 5\ndata\ndata: \xc3\xa9\n\n: end\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_a_stream_is_read_alike_however_it_is_cut(cuts: list[int]) -> None:
    parser, edges = Parser("0"), [0, *sorted(cuts), len(STREAM)]
    told = [it for low, high in pairwise(edges) for it in parser.feed(STREAM[low:high])]
    assert told == [
        Message("a", "x", "1"),
        Message("message", "y\nz", "1"),
        Message("message", "\né", "3"),
    ]
    assert parser.place == "3"


def test_an_event_without_an_end_is_not_kept_for_ever() -> None:
    for piece in (b"x" * 10_000, b"data: " + b"x" * 10_000 + b"\n"):
        parser = Parser()
        with pytest.raises(aq_client.UnexpectedAnswer):
            assert not [it for _ in range(1_000) for it in parser.feed(piece)]
