"""What the simulator found (docs/reliability.md), reduced: each of these was red before it was mended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio

from aq.actors.services import Sizes
from aq.delivery.protocol import Delivery
from aq.engine import Engine
from aq.errors import NotFoundError, StorageFullError, StorageUnavailableError
from aq.instants import Instant
from aq.outcome import Outcome
from aq.storage.answers import Answer, Reason, Refused
from aq.storage.changes import PutQueue, Start, Unit
from aq.storage.memory import MemoryStorage
from aq.task import FailureReason, Status
from tests.engine.storages import Faulty
from tests.engine.support import SUCCESS, Receiver, ended, slow, submit, up


async def test_a_queue_does_not_retire_while_the_end_of_an_expired_task_cannot_be_written(
    autojump_clock: object,
) -> None:
    storage = Faulty(MemoryStorage())

    def full(units: Sequence[Unit]) -> None:
        if 4 <= trio.current_time() < 20:
            raise StorageFullError("no space left on the device")

    storage.before_commit = full
    async with up(storage, sizes=Sizes(idle=1)) as engine:
        await engine.queues.create("q", paused=True)
        task = await submit(engine, expires_in=5)
        await trio.sleep_until(21)
        assert (await engine.get(task.id)).task.failure_reason is FailureReason.EXPIRED


def at_five(seconds: float) -> Callable[[Sequence[Unit]], Awaitable[None] | None]:
    """For ``before_commit``: those that begin five seconds after the start take so long."""

    async def wait() -> None:
        await trio.sleep(seconds)

    return lambda units: wait() if trio.current_time() == 5 else None


async def test_what_becomes_due_while_a_decision_waits_for_the_disk_starts(autojump_clock: object) -> None:
    """The end of the first task leaves an expiry to be looked at: that look waits for a commit."""
    storage, receiver = Faulty(MemoryStorage()), Receiver()
    storage.before_commit = at_five(2)
    async with up(storage, receiver) as engine:
        await ended(engine, await submit(engine, expires_in=5))
        task = await submit(engine, delay=6)
        await trio.sleep_until(8)
        assert receiver.at(task.id) == [7]


async def test_a_decision_that_waits_for_the_disk_starts_nothing_once_the_engine_drains(
    autojump_clock: object,
) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver()
    storage.before_commit = at_five(2)
    async with up(storage, receiver) as engine:
        await ended(engine, await submit(engine, expires_in=5))
        task = await submit(engine, delay=5)
        await trio.sleep_until(6)
        engine.begin_drain()
        await trio.sleep_until(8)
        assert receiver.at(task.id) == []


async def test_a_bulk_retry_that_is_accepted_as_the_engine_closes_costs_no_outcome(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Its mark is durable, so it goes on after the next opening; the supervisor had crashed over it."""
    storage = Faulty(MemoryStorage())

    async def reluctant(delivery: Delivery) -> Outcome:
        """Not to be cut short, until all that was asked for is durable."""
        with trio.CancelScope(shield=True):
            await trio.sleep(4)
        return SUCCESS

    async with trio.open_nursery() as nursery, up(storage, reluctant) as engine:
        task = await submit(engine)
        storage.before_commit = slow(PutQueue, 2)
        nursery.start_soon(engine.queues.retry, "q")
        await trio.sleep(1)
    async with up(storage) as engine:
        view = await engine.get(task.id)
    assert [attempt.status for attempt in view.attempts] == ["success"]
    assert "crashed" not in caplog.text


@pytest.mark.parametrize("read", ["floor", "settings", "api_keys", "queues", "schedules"])
async def test_a_read_that_fails_for_a_moment_does_not_keep_an_engine_from_opening(
    autojump_clock: object, read: str
) -> None:
    storage, failed = Faulty(MemoryStorage()), list[str]()
    whole: Callable[..., Awaitable[Any]] = getattr(storage, read)

    async def fails_once(*arguments: Any) -> Any:
        if not failed:
            failed.append(read)
            raise StorageUnavailableError("for now")
        return await whole(*arguments)

    setattr(storage, read, fails_once)
    async with up(storage) as engine:
        assert (await ended(engine, await submit(engine))).task.status is Status.COMPLETED
    assert failed == [read]


class RefusingOneStart(Faulty):
    """Refuses the first start, a second after it was sent, as if an ordering key held the task back."""

    refused = False

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        places = [place for place, unit in enumerate(units) if any(isinstance(c, Start) for c in unit)]
        if self.refused or not places:
            return await super().commit(units, now)
        self.refused = True
        await trio.sleep(1)
        answers = list(
            await super().commit([() if at in places else unit for at, unit in enumerate(units)], now)
        )
        for place in places:
            answers[place] = Refused(Reason.STATE)
        return answers


async def test_a_purge_covers_a_task_whose_start_is_on_its_way_and_is_then_refused(
    autojump_clock: object,
) -> None:
    storage = RefusingOneStart(MemoryStorage())
    async with up(storage) as engine, trio.open_nursery() as nursery:
        await engine.queues.create("q", paused=True)
        task = await submit(engine)
        nursery.start_soon(engine.queues.resume, "q")
        await trio.sleep(0.5)
        assert await engine.queues.purge("q") == 1
        await trio.sleep(1)
        with pytest.raises(NotFoundError):
            await engine.get(task.id)


async def test_a_purge_behind_a_deletion_forgets_no_task_of_the_next_queue(autojump_clock: object) -> None:
    async def purge(engine: Engine) -> None:
        with pytest.raises(NotFoundError):
            await engine.queues.purge("q")

    async def a_second(units: Sequence[Unit]) -> None:
        await trio.sleep(1)

    storage = Faulty(MemoryStorage())
    async with up(storage) as engine, trio.open_nursery() as nursery:
        await engine.queues.create("q")
        storage.before_commit = a_second
        async with trio.open_nursery() as deleting:
            deleting.start_soon(engine.queues.delete, "q")
            await trio.sleep(1.5)
            nursery.start_soon(purge, engine)  # in line behind it
        task = await submit(engine)
        assert (await ended(engine, task, seconds=10)).task.status is Status.COMPLETED
