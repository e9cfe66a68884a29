"""Deletion of a queue: wholly or not at all, over crashes and full disks, and beside everything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest
import trio

from aq.engine import Engine
from aq.errors import ConflictError, NotFoundError, UnavailableError
from aq.storage.changes import DropQueue, PutQueue, Sweep, Unit
from aq.storage.memory import MemoryStorage
from aq.task import Queue, QueueKey
from tests.engine.storages import Faulty, full_once
from tests.engine.support import (
    GONE,
    SUCCESS,
    Mortal,
    Receiver,
    ended,
    slow,
    submit,
    submit_many,
    until_it_dies,
    up,
    wait_for,
)


class SlowLook(Mortal):
    """Whoever reads the row of a queue has it a second after it was read."""

    async def queue(self, key: QueueKey) -> Queue | None:
        queue = await super().queue(key)
        await trio.sleep(1)
        return queue


async def history(engine: Engine, number: int) -> None:
    """So many finished tasks of one queue."""
    await wait_for(engine, await submit_many(engine, number))


def noting(answers: list[str], ask: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """Asks, and notes how it went."""

    async def note() -> None:
        try:
            await ask()
        except (ConflictError, NotFoundError, UnavailableError) as error:
            answers.append(type(error).__name__)
        else:
            answers.append("done")

    return note


async def test_what_was_promised_to_wait_again_keeps_its_queue(autojump_clock: object) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver(lambda delivery: GONE)
    async with up(storage, receiver) as engine:
        await history(engine, 300)
        receiver.answer = lambda delivery: SUCCESS
        storage.before_commit = slow(PutQueue)
        assert (await engine.queues.retry("q")).value == 300
        with pytest.raises(ConflictError, match="retry"):
            await engine.queues.delete("q")
        await trio.sleep(60)
        assert (await engine.queues.get("q")).counts.completed == 300


async def test_a_task_that_comes_at_the_last_moment_keeps_its_queue_and_all_its_history(
    autojump_clock: object,
) -> None:
    answers = list[str]()
    async with up(SlowLook(MemoryStorage())) as engine:
        await history(engine, 3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(noting(answers, lambda: engine.queues.delete("q")))
            await trio.sleep(1.5)  # it has found nothing that waits
            late = await submit(engine, delay=1)
        assert answers == ["ConflictError"]
        await ended(engine, late)
        assert (await engine.queues.get("q")).counts.completed == 4


async def test_no_task_comes_in_while_it_is_under_way(autojump_clock: object) -> None:
    storage, tasks, others = Faulty(MemoryStorage()), list[str](), list[str]()
    async with up(storage, Receiver(lambda delivery: GONE)) as engine:
        (failed,) = await submit_many(engine, 1)
        await history(engine, 3)
        storage.before_commit = slow(Sweep)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.queues.delete, "q")
            await trio.sleep(0.5)
            nursery.start_soon(noting(tasks, partial(submit, engine)))
            nursery.start_soon(noting(tasks, partial(submit, engine, delay=9)))
            nursery.start_soon(noting(tasks, partial(engine.retry, failed.id)))
            for change in (engine.queues.retry, engine.queues.purge, engine.queues.delete):
                nursery.start_soon(noting(others, partial(change, "q")))
        assert tasks == ["UnavailableError"] * 3
        assert sorted(others) == ["ConflictError", "NotFoundError", "NotFoundError"]
        assert await engine.queues.list() == []
        await ended(engine, await submit(engine))  # and it begins anew


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("kind", "number"), [(PutQueue, 1), (Sweep, 1), (Sweep, 2), (DropQueue, 1)])
async def test_over_a_crash_it_goes_on_or_was_never_begun(
    autojump_clock: object, kind: type, number: int, after: bool
) -> None:
    memory, left = MemoryStorage(), [number + 1 if kind is Sweep else number]  # the janitor's
    async with up(memory) as engine:
        await history(engine, 1_200)

    def dies(units: Sequence[Unit]) -> bool:
        found = any(isinstance(change, kind) for unit in units for change in unit)
        left[0] -= found
        return found and left[0] == 0

    mortal = Mortal(memory, after=after)
    mortal.dies_on = dies
    await until_it_dies(mortal, Receiver(), lambda engine: engine.queues.delete("q"))
    async with up(memory) as engine:
        await trio.sleep(60)
        kept = [queue.counts.completed for queue in await engine.queues.list()]
    assert kept == ([1_200] if kind is PutQueue and not after else [])
    assert await memory.audit() == []


async def test_over_a_crash_a_task_that_came_at_the_last_moment_keeps_its_queue(
    autojump_clock: object,
) -> None:
    memory = MemoryStorage()
    async with up(memory) as engine:
        await history(engine, 3)
    mortal, receiver = SlowLook(memory, after=True), Receiver()
    mortal.dies_on = lambda units: any(isinstance(change, PutQueue) for unit in units for change in unit)

    async def live(engine: Engine) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.queues.delete, "q")
            await trio.sleep(2.5)
            await submit(engine, delay=60)

    await until_it_dies(mortal, receiver, live)
    async with up(memory, receiver) as engine:
        await trio.sleep(100)
        assert (await engine.queues.get("q")).counts.completed == 4


@pytest.mark.parametrize("kind", [PutQueue, Sweep, DropQueue])
async def test_a_disk_that_is_full_for_a_moment_leaves_nothing_half_deleted(
    autojump_clock: object, kind: type
) -> None:
    storage, answers = Faulty(MemoryStorage()), list[str]()
    async with up(storage) as engine:
        await history(engine, 1_200)
        storage.before_commit = full_once(lambda change: isinstance(change, kind))
        await noting(answers, lambda: engine.queues.delete("q"))()
        assert answers == ["StorageFullError" if kind is PutQueue else "done"]
        await trio.sleep(60)
        kept = [(queue.counts.completed, queue.clearing) for queue in await engine.queues.list()]
        assert kept == ([(1_200, None)] if kind is PutQueue else [])
        await wait_for(engine, await submit_many(engine, 1))
