"""The feed: a bounded ring, and readers that are places in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from aq.actors.feed import About, Dropped, Ended, Feed, FeedEvent, Heard, Missed, Reader
from aq.task import Environment, QueueKey

A, B = QueueKey(Environment.LIVE, "a"), QueueKey(Environment.LIVE, "b")
SANDBOX = QueueKey(Environment.TEST, "a")


def publish(feed: Feed, *, times: int = 1, key: QueueKey = A, task: str | None = None, **data: Any) -> None:
    for _ in range(times):
        feed.publish("task.created", key, 1_000_000, task, **data)


def everything(event: FeedEvent) -> bool:
    return True


def numbers(heard: Sequence[Heard]) -> list[int | Heard]:
    """Events as their numbers, other words as they are."""
    return [word.number if isinstance(word, FeedEvent) else word for word in heard]


async def drain(reader: Reader) -> list[int | Heard]:
    """All that comes until the reader has to wait, or is over."""
    found: list[Heard] = []
    with trio.CancelScope() as scope:

        async def stop_when_blocked() -> None:
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_when_blocked)
            async for heard in reader:
                found.append(heard)  # noqa: PERF401  # what came before the cut is kept
    return numbers(found)


async def test_an_event_has_all_that_was_said_of_it() -> None:
    feed = Feed("run")
    reader = feed.read(everything)
    feed.publish("task.failed", A, 123, "task_1", attempt=2, error_type=None)
    (event,) = reader.take()
    assert isinstance(event, FeedEvent)
    assert (event.id, event.name, event.queue, event.at, event.task_id) == (
        "run-1",
        "task.failed",
        A,
        123,
        "task_1",
    )
    assert event.data == {"attempt": 2, "error_type": None}


async def test_a_reader_begins_now_and_is_given_what_it_accepts_in_order() -> None:
    feed = Feed("run")
    publish(feed, times=3)
    reader = feed.read(lambda event: event.queue == A)
    publish(feed)
    publish(feed, key=B)
    publish(feed)
    assert await drain(reader) == [4, 6]
    publish(feed, times=2)
    assert await drain(reader) == [7, 8]


async def test_events_are_taken_in_batches() -> None:
    feed = Feed("run")
    reader = feed.read(everything)
    publish(feed, times=5)
    assert numbers(reader.take(3)) == [1, 2, 3]
    assert numbers(reader.take(3)) == [4, 5]
    assert numbers(reader.take(3)) == []


@pytest.mark.parametrize("after", range(13))
async def test_reading_on_behind_an_event_gives_all_that_is_kept_behind_it(after: int) -> None:
    feed = Feed("run", ring=5)
    publish(feed, times=12)  # 8 to 12 are kept
    kept = [number for number in range(8, 13) if number > after]
    missed = [Missed()] if after < 7 else []
    assert await drain(feed.read(everything, f"run-{after}")) == [*missed, *kept]


@pytest.mark.parametrize(
    "after", ["earlier-2", "run-13", "run-", "run", "", "run-x", "run-²", "-2", "run--1"]
)
async def test_behind_an_event_of_another_run_it_goes_on_from_now(after: str) -> None:
    feed = Feed("run")
    publish(feed, times=12)
    reader = feed.read(everything, after)
    publish(feed)
    assert await drain(reader) == [Missed(), 13]


async def test_a_place_is_behind_all_that_was_looked_at_accepted_or_not() -> None:
    feed = Feed("run")
    reader = feed.read(lambda event: event.queue == B, about=B)
    assert reader.place == "run-0"
    publish(feed, times=4)
    assert reader.take() == []
    assert reader.place == "run-4"
    publish(feed, key=B)
    again = feed.read(lambda event: event.queue == B, reader.place)
    assert numbers(again.take()) == [5]


async def test_a_reader_that_the_ring_overtakes_is_told_and_ends() -> None:
    feed = Feed("run", ring=5)
    slow, quick = feed.read(everything), feed.read(everything)
    publish(feed, times=2)
    assert numbers(slow.take(1)) == [1]
    publish(feed, times=4)
    assert await drain(quick) == [Dropped()]
    assert await drain(slow) == [2, 3, 4, 5, 6]
    publish(feed, times=6)
    assert await drain(slow) == [Dropped()]
    assert slow.over
    publish(feed)
    assert await drain(slow) == []


async def test_one_that_waits_is_never_too_slow() -> None:
    """What turned the ring over meanwhile was none of its business."""
    feed = Feed("run", ring=5)
    reader = feed.read(lambda event: event.task_id == "mine", about="mine")
    heard: list[Heard] = []

    async def listen() -> None:
        with trio.fail_after(5):
            heard.append(await anext(reader))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        publish(feed, times=20)
        publish(feed, task="mine")
        publish(feed, times=3)
    assert numbers(heard) == [21]


@pytest.mark.parametrize(
    ("about", "wakes"), [(None, "abst"), (Environment.LIVE, "abt"), (A, "at"), ("mine", "t")]
)
async def test_a_waiting_reader_is_woken_only_by_what_it_is_about(about: About, wakes: str) -> None:
    feed = Feed("run")
    happenings: dict[str, Callable[[], None]] = {
        "a": lambda: publish(feed, key=A),
        "b": lambda: publish(feed, key=B, task="other"),
        "s": lambda: publish(feed, key=SANDBOX),
        "t": lambda: publish(feed, key=A, task="mine"),
    }
    for name, happen in happenings.items():
        reader = feed.read(everything, about=about)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.wait)
            await trio.testing.wait_all_tasks_blocked()
            happen()
            await trio.testing.wait_all_tasks_blocked()
            assert bool(nursery.child_tasks) == (name not in wakes)
            nursery.cancel_scope.cancel()


async def test_a_wait_that_is_cancelled_loses_nothing_and_leaves_nothing_behind() -> None:
    feed = Feed("run", ring=5)
    reader = feed.read(everything, about="mine")
    idle = feed.read(everything, about=A)
    for _ in range(3):
        with trio.move_on_after(0):
            await reader.wait()
    assert feed._benches == {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle.wait)
        nursery.start_soon(reader.wait)
        await trio.testing.wait_all_tasks_blocked()
        publish(feed, task="mine")
        nursery.cancel_scope.cancel()  # in the same moment in which both were woken
    assert numbers(reader.take()) == numbers(idle.take()) == [1]
    assert feed._benches == {}


async def test_closing_ends_every_reader_once_it_has_read_what_there_is() -> None:
    feed = Feed("run")
    waiting, behind = feed.read(everything, about="mine"), feed.read(everything)
    heard: dict[Reader, list[int | Heard]] = {}

    async def listen(reader: Reader) -> None:
        with trio.fail_after(5):
            heard[reader] = numbers([word async for word in reader])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, waiting)
        await trio.testing.wait_all_tasks_blocked()
        publish(feed, times=2)
        feed.close()
        nursery.start_soon(listen, behind)
    assert heard == {waiting: [Ended()], behind: [1, 2, Ended()]}
    publish(feed)
    assert await drain(feed.read(everything, "run-2")) == [3, Ended()]


async def test_skipping_many_lets_others_run() -> None:
    feed = Feed("run", ring=10_000)
    reader = feed.read(lambda event: False)
    publish(feed, times=10_000)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        while reader.place != "run-10000":
            await reader.wait()
            assert reader.take() == []
        nursery.cancel_scope.cancel()
    assert turns >= 30


class Steps(trio.abc.Instrument):
    """Counts how often any task runs."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_while_nothing_happens_nobody_runs(mock_clock: trio.testing.MockClock) -> None:
    feed = Feed("run")
    steps = Steps()
    async with trio.open_nursery() as nursery:
        for about in (None, A, "mine"):
            nursery.start_soon(feed.read(everything, about=about).wait)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(steps)
        mock_clock.jump(86_400)
        await trio.testing.wait_all_tasks_blocked()
        publish(feed, key=SANDBOX, times=50)  # wakes the one that listens to everything, once
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(steps)
        nursery.cancel_scope.cancel()
    assert steps.count == 3  # that one, and this test after each of its two pauses
