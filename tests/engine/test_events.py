"""What is told of a queue's life: every kind of event, once, in order, and only of what is durable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
import trio

from aq.actors.feed import FeedEvent
from aq.delivery.protocol import Delivery
from aq.engine import Engine
from aq.instants import SECOND, to_rfc3339
from aq.outcome import Outcome
from aq.queues import Retry
from aq.storage.changes import Insert, Start, Unit, Update
from aq.storage.memory import MemoryStorage
from aq.task import Environment, QueueKey
from tests.engine.storages import Faulty
from tests.engine.support import (
    BACK,
    EPOCH,
    FAILURE,
    GONE,
    SUCCESS,
    Receiver,
    settled,
    submit,
    submit_many,
    up,
    wait_for,
)

LIVE_Q = QueueKey(Environment.LIVE, "q")


class Listener:
    """Everything that the engine has told since it was made."""

    def __init__(self, engine: Engine) -> None:
        self._reader = engine.feed.read(lambda event: True)

    def heard(self) -> list[FeedEvent]:
        events: list[FeedEvent] = []
        while taken := self._reader.take():
            events += [event for event in taken if isinstance(event, FeedEvent)]
        return events


def told(events: Sequence[FeedEvent], task_id: str | None = None) -> list[str]:
    return [event.name for event in events if event.task_id == task_id]


async def test_a_tasks_life(autojump_clock: object) -> None:
    async with up(runner=Receiver(lambda d: FAILURE if d.attempt == 1 else SUCCESS)) as engine:
        listener = Listener(engine)
        await engine.queues.create("q", max_retries=1, retry_jitter=0)
        task = await submit(engine)
        await wait_for(engine, [task])
        events = [event for event in listener.heard() if event.task_id == task.id]
    assert [event.name for event in events] == [
        "task.created",
        "task.started",
        "task.retrying",
        "task.started",
        "task.completed",
    ]
    assert [event.data.get("attempt") for event in events] == [None, 1, 1, 2, 2]
    assert [event.at - events[0].at for event in events] == [0, 0, 0, 1_000_000, 1_000_000]
    assert events[2].data == {
        "attempt": 1,
        "error_type": "unknown",
        "due_at": to_rfc3339((EPOCH + 1) * SECOND),
    }
    assert {event.queue for event in events} == {LIVE_Q}


@pytest.mark.parametrize("in_bulk", [False, True])
async def test_a_retry_by_hand(autojump_clock: object, in_bulk: bool) -> None:
    async with up(runner=Receiver(lambda d: GONE)) as engine:
        listener = Listener(engine)
        task = await submit(engine)
        await wait_for(engine, [task])
        await trio.sleep(5)
        await engine.queues.pause("q")
        await (engine.queues.retry("q") if in_bulk else engine.retry(task.id))
        await settled()
        events = [event for event in listener.heard() if event.task_id == task.id]
        retried = engine.meter.totals(Environment.LIVE, ["q"]).retried
    assert [event.name for event in events][-2:] == ["task.failed", "task.retrying"]
    assert events[-1].at - events[-2].at == 5 * SECOND
    due_at = to_rfc3339(events[-1].at)
    assert events[-1].data == {"attempt": 1, "error_type": "gone", "due_at": due_at}
    assert retried == 1


async def test_other_ends(autojump_clock: object) -> None:
    async with up(runner=Receiver(lambda d: GONE)) as engine:
        listener = Listener(engine)
        gone = await submit(engine, callback_url=BACK)
        await settled()
        await engine.queues.pause("q")
        late, deleted = await submit(engine, expires_in=5), await submit(engine)
        await engine.delete(deleted.id)
        await trio.sleep(5)
        purged = await submit_many(engine, 3)
        await engine.queues.purge("q")
        await settled()
        boxed = await submit(engine, environment=Environment.TEST)
        events = listener.heard()
    assert told(events, gone.id) == ["task.created", "task.started", "task.failed"]
    assert told(events, late.id) == ["task.created", "task.failed"]
    reasons = [event.data["failure_reason"] for event in events if event.name == "task.failed"]
    assert reasons == ["gone", "expired"]
    for task in (deleted, *purged):
        assert told(events, task.id) == ["task.created", "task.deleted"]
    assert told(events, boxed.id) == ["task.created"]
    assert not [event for event in events if event.queue.environment is Environment.CALLBACK]


async def test_a_queues_life(autojump_clock: object) -> None:
    async with up() as engine:
        listener = Listener(engine)
        await engine.queues.create("q")
        await engine.queues.update("q", timeout=9)
        await engine.queues.pause("q")
        await engine.queues.pause("q")
        await submit_many(engine, 3)
        await engine.queues.resume("q")
        await engine.queues.purge("q")
        await engine.queues.retry("q", Retry(dry_run=True))
        await settled()
        await engine.queues.delete("q")
        await submit(engine, "first-use")
        events = listener.heard()
    names = [event.name for event in events if event.task_id is None and event.queue == LIVE_Q]
    assert names == [
        "queue.created",
        "queue.updated",
        "queue.paused",
        "queue.updated",
        "queue.resumed",
        "queue.purged",
        "queue.deleted",
    ]
    (purged,) = [event for event in events if event.name == "queue.purged"]
    assert purged.data["count"] in range(4)
    first = next(event for event in events if event.queue.name == "first-use")
    assert first.name == "queue.created"


@pytest.mark.parametrize(
    ("kind", "name"), [(Insert, "task.created"), (Start, "task.started"), (Update, "task.completed")]
)
async def test_nothing_is_told_before_it_is_durable(autojump_clock: object, kind: type, name: str) -> None:
    storage, may_commit = Faulty(MemoryStorage()), trio.Event()

    def hold(units: Sequence[Unit]) -> object:
        return may_commit.wait() if any(isinstance(c, kind) for unit in units for c in unit) else None

    async with up(storage) as engine:
        await engine.queues.create("q", paused=True)
        listener = Listener(engine)
        storage.before_commit = hold
        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit, engine)
            await settled()
            if kind is not Insert:
                nursery.start_soon(engine.queues.resume, "q")
            await settled()
            before = {event.name for event in listener.heard()}
            may_commit.set()
        await settled()
        if kind is Insert:
            await engine.queues.resume("q")
        assert name not in before
        assert name in {event.name for event in listener.heard()}


async def test_the_meter_and_the_counts_agree_with_the_events(autojump_clock: object) -> None:
    random = Random(4)

    def judge(delivery: Delivery) -> Outcome:
        return random.choice([SUCCESS, SUCCESS, FAILURE, GONE])

    async with up(runner=Receiver(judge)) as engine:
        listener = Listener(engine)
        await engine.queues.create("q", max_retries=2, retry_delay=0)
        tasks = await submit_many(engine, 60) + [await submit(engine) for _ in range(20)]
        await trio.sleep(10)
        await engine.queues.pause("q")
        tasks += [await submit(engine, expires_in=5, callback_url=BACK) for _ in range(5)]
        await wait_for(engine, tasks)
        await settled()
        names = Counter(event.name.partition(".")[2] for event in listener.heard() if event.task_id)
        tally = engine.meter.totals(Environment.LIVE, ["q"])
        counts = (await engine.queues.get("q")).counts
    assert (tally.created, tally.started, tally.completed, tally.failed, tally.retried) == tuple(
        names[name] for name in ("created", "started", "completed", "failed", "retrying")
    )
    assert (tally.created, tally.completed, tally.failed) == (85, counts.completed, counts.failed)
    assert tally.started == tally.completed + tally.failed - 5 + tally.retried
    assert tally.retried > 0
