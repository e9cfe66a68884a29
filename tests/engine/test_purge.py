"""A purge: what it covers is gone when it is answered, and is swept in small steps beside everything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing

from aq.actors.messages import Reply, Request
from aq.delivery.protocol import Delivery
from aq.engine import Engine
from aq.errors import NotFoundError, StorageCorruptError, StorageFullError, UnavailableError
from aq.outcome import Outcome
from aq.storage.answers import TaskFilter
from aq.storage.changes import Change, Purge, PutQueue, Unit
from aq.storage.memory import MemoryStorage
from aq.task import Environment, Status, Task
from tests.engine.storages import Faulty, full_once
from tests.engine.support import (
    FAILURE,
    SUCCESS,
    Gate,
    Receiver,
    ended,
    settled,
    slow,
    submit,
    submit_many,
    until_killed,
    up,
    wait_for,
)

PENDING = TaskFilter(status=Status.PENDING)


async def states(engine: Engine, tasks: Sequence[Task]) -> list[Status | None]:
    """None for one that is gone."""
    found: list[Status | None] = []
    for task in tasks:
        try:
            found.append((await engine.get(task.id)).task.status)
        except NotFoundError:
            found.append(None)
    return found


async def purging(storage: Faulty, engine: Engine, number: int) -> None:
    """A purge of so many tasks has been answered, and is a second away from its first step."""
    storage.before_commit = slow(Purge)
    assert await engine.queues.purge("q") == number


async def test_purged_is_gone_when_it_is_answered(autojump_clock: object) -> None:
    """None starts although its slot comes free and its time comes while 2,400 are swept in five steps."""
    storage, gate = Faulty(MemoryStorage()), Gate()
    async with up(storage, gate) as engine:
        await engine.queues.create("q", concurrency=2, retry_jitter=0)
        active = [await submit(engine), await submit(engine, ordering_key="k")]
        await settled()
        tasks = await submit_many(engine, 1_000) + await submit_many(engine, 700, delay=2)
        tasks += await submit_many(engine, 700, ordering_key="k")
        await purging(storage, engine, 2_400)
        await gate.end(active[0])
        await gate.end(active[1])
        created = await submit(engine, priority=1)
        await trio.sleep(20)
        assert gate.began == [active[0].id, active[1].id, created.id]
        assert await states(engine, [*active, created, *tasks]) == [
            *(Status.COMPLETED, Status.COMPLETED, Status.ACTIVE),
            *[None] * 2_400,
        ]
        purges = [c for units in storage.committed for unit in units for c in unit if isinstance(c, Purge)]
        assert len(purges) == 5
        assert all(purge.limit <= 500 for purge in purges)
        await gate.end(created)
        assert (await storage.audit()) == []


async def test_a_purge_spares_what_was_active_also_when_it_waits_again(autojump_clock: object) -> None:
    storage, gate = Faulty(MemoryStorage()), Gate()
    async with up(storage, gate) as engine:
        await engine.queues.create("q", concurrency=2, retry_delay=10, retry_jitter=0)
        plain, keyed = await submit(engine), await submit(engine, ordering_key="k")
        await settled()
        await submit_many(engine, 2_200)
        await purging(storage, engine, 2_200)
        await gate.end(plain, FAILURE)
        await gate.end(keyed, FAILURE)
        await trio.sleep(2.5)
        assert await states(engine, [plain, keyed]) == [Status.PENDING] * 2
        assert (await engine.queues.get("q")).clearing is not None
        await trio.sleep(30)
        for task in (plain, keyed):
            await gate.end(task)
        assert await states(engine, [plain, keyed]) == [Status.COMPLETED] * 2


async def test_tasks_created_after_the_answer_live(autojump_clock: object) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver()
    async with up(storage, receiver) as engine:
        await engine.queues.create("q", paused=True)
        await submit_many(engine, 1_200, ordering_key="k")
        await purging(storage, engine, 1_200)
        behind = await submit(engine, ordering_key="k")  # those before it are still there
        (batched,) = await submit_many(engine, 1, ordering_key="k")
        plain = await submit(engine)
        await engine.queues.resume("q")
        await wait_for(engine, [plain, behind, batched], 60)
    assert [task_id for task_id in receiver.ids if task_id != plain.id] == [behind.id, batched.id]


async def test_a_batch_that_arrives_while_it_is_purged_is_delivered_or_gone(autojump_clock: object) -> None:
    """Its tasks are written past the supervisor, which may hear of the purge first."""
    for pause in range(12):
        storage, receiver = Faulty(MemoryStorage()), Receiver()
        answered: list[int] = []

        async def arrive(engine: Engine) -> None:
            await submit_many(engine, 3)

        async def purge(engine: Engine, ticks: int, answered: list[int], receiver: Receiver) -> None:
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            answered.append(await engine.queues.purge("q"))
            answered.append(len(receiver.seen))

        async with up(storage, receiver) as engine:
            await engine.queues.create("q")
            await settled()
            storage.before_commit = slow(Purge)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(arrive, engine)
                nursery.start_soon(purge, engine, pause, answered, receiver)
            await trio.sleep(30)
            counts = (await engine.queues.get("q")).counts
            assert answered[0] + counts.completed == 3
            assert len(receiver.seen) == counts.completed


async def test_who_waits_for_a_purged_task_is_told(autojump_clock: object) -> None:
    told: list[str] = []

    async def wait(engine: Engine, task: Task) -> None:
        with pytest.raises(NotFoundError):
            await ended(engine, task)
        told.append(task.id)

    async with up() as engine, trio.open_nursery() as nursery:
        await engine.queues.create("q", paused=True)
        tasks = await submit_many(engine, 700)
        for task in tasks[::100]:
            nursery.start_soon(wait, engine, task)
        await settled()
        assert await engine.queues.purge("q") == 700
        await settled()
    assert sorted(told) == [task.id for task in tasks[::100]]


class Unheard(Request):
    """What no supervisor knows: it crashes over it."""

    def __init__(self) -> None:
        self.reply = Reply[None]()


async def test_who_waits_is_told_though_the_supervisor_crashes_meanwhile(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Between the commit of a step and its answer."""
    storage, told = Faulty(MemoryStorage()), list[str]()

    async def wait(engine: Engine, task: Task) -> None:
        with pytest.raises(NotFoundError):
            await ended(engine, task)
        told.append(task.id)

    async with up(storage) as engine, trio.open_nursery() as nursery:
        await engine.queues.create("q", paused=True)
        waiting = await submit(engine)
        nursery.start_soon(wait, engine, waiting)
        await purging(storage, engine, 1)
        await settled()
        await engine._root.ask(waiting.queue, Unheard())
        await trio.sleep(10)
        assert told == [waiting.id]
    assert "the supervisor of queue q crashed" in caplog.text


async def test_a_second_purge_counts_what_came_since(autojump_clock: object) -> None:
    storage = Faulty(MemoryStorage())
    async with up(storage) as engine:
        await engine.queues.create("q", paused=True)
        await submit_many(engine, 1_200)
        await purging(storage, engine, 1_200)
        await submit_many(engine, 3)
        counted: list[int] = []

        async def again() -> None:
            counted.append(await engine.queues.purge("q"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(again)
            nursery.start_soon(again)
        assert sorted(counted) == [0, 3]
        await trio.sleep(10)
        queue = await engine.queues.get("q")
        assert (queue.counts.pending, queue.clearing) == (0, None)


@pytest.mark.parametrize("kind", [Purge, PutQueue])
async def test_a_disk_that_is_full_for_a_moment_ends_no_sweep(autojump_clock: object, kind: type) -> None:
    """Neither in a step, nor as the mark is taken away; beside it may be a change that is refused then."""
    storage = Faulty(MemoryStorage())

    async def pause(engine: Engine) -> None:
        with suppress(StorageFullError):
            await engine.queues.update("q", concurrency=3)

    async with up(storage) as engine, trio.open_nursery() as nursery:
        await engine.queues.create("q", paused=True)
        await submit_many(engine, 1_200)
        assert await engine.queues.purge("q") == 1_200
        storage.before_commit = full_once(lambda change: isinstance(change, kind) and not marked(change))
        for _ in range(8):
            nursery.start_soon(pause, engine)
            await trio.lowlevel.checkpoint()
        brief = await submit_later(engine, expires_in=10)
        await trio.sleep(60)
        assert (await engine.get(brief.id)).task.status is Status.FAILED
        queue = await engine.queues.get("q")
        assert (queue.counts.pending, queue.clearing) == (0, None)
        await engine.queues.delete("q")


def marked(change: Change) -> bool:
    return isinstance(change, PutQueue) and change.queue.clearing is not None


async def submit_later(engine: Engine, **fields: Any) -> Task:
    """Once the disk is not full any more."""
    await trio.sleep(5)
    return await submit(engine, **fields)


async def test_a_purge_that_is_answered_as_the_engine_ends_is_swept_by_the_next(
    autojump_clock: object,
) -> None:
    """Its supervisor hears of the mark after it has ended its attempts, which take their time to go."""

    async def stubborn(delivery: Delivery) -> Outcome:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
        return SUCCESS

    memory = MemoryStorage()
    storage, answered = Faulty(memory), list[int]()

    async def purge(engine: Engine) -> None:
        answered.append(await engine.queues.purge("q"))

    async with trio.open_nursery() as nursery, up(storage, stubborn) as engine:
        await engine.queues.create("q", concurrency=1)
        active, _ = await submit_many(engine, 2)
        await settled()
        storage.before_commit = slow(PutQueue)
        nursery.start_soon(purge, engine)
        await settled()
    assert answered == [1]
    async with up(memory) as engine:
        await trio.sleep(10)
        assert len((await engine.get(active.id)).attempts) == 1
        queue = await engine.queues.get("q")
        assert (queue.counts.pending, queue.clearing) == (0, None)


async def test_a_purge_goes_on_after_a_crash(autojump_clock: object) -> None:
    memory, receiver = MemoryStorage(), Receiver()
    storage, gate = Faulty(memory), Gate()
    async with until_killed(storage, gate) as engine:
        await engine.queues.create("q", concurrency=1)
        active = await submit(engine)
        await settled()
        old = await submit_many(engine, 1_800)
        await purging(storage, engine, 1_800)
        new = await submit_many(engine, 2)
        await trio.sleep(1.5)
    left = await memory.count_tasks(PENDING)
    assert 2 < left < 1_802
    async with up(memory, receiver) as engine:
        await wait_for(engine, [active, *new])
        assert await states(engine, old) == [None] * 1_800
        assert (await engine.queues.get("q")).clearing is None
        assert await memory.audit() == []
    assert sorted(receiver.ids) == [active.id, *(task.id for task in new)]


class Steps(trio.abc.Instrument):
    """Counts how often any task runs."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_nobody_runs_while_a_step_is_on_its_way_to_disk(mock_clock: trio.testing.MockClock) -> None:
    memory, stuck, steps = MemoryStorage(), trio.Event(), Steps()
    storage = Faulty(memory)
    storage.before_commit = lambda units: stuck.wait() if is_purge(units) else None
    async with until_killed(storage) as engine:
        await submit_many(engine, 700, delay=900, expires_in=905)
        await engine.queues.purge("q")
    async with up(storage):  # its supervisor goes on with the purge, and knows nothing of the rest
        mock_clock.jump(1_000)
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        trio.lowlevel.add_instrument(steps)
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(steps)
        stuck.set()
    assert steps.count < 120


def is_purge(units: Sequence[Unit]) -> bool:
    return any(isinstance(change, Purge) for unit in units for change in unit)


async def test_purging_nothing_counting_and_missing() -> None:
    async with up() as engine:
        with pytest.raises(NotFoundError):
            await engine.queues.purge("q")
        await engine.queues.create("q", paused=True)
        assert await engine.queues.purge("q") == 0
        await submit_many(engine, 3)
        assert await engine.queues.purge("q", dry_run=True) == 3
        assert (await engine.queues.get("q")).counts.pending == 3
        assert await engine.queues.purge("q") == 3
        await settled()
        assert await engine.queues.purge("q", dry_run=True) == 0


async def test_a_queue_that_was_purged_can_be_deleted_at_once(autojump_clock: object) -> None:
    storage = Faulty(MemoryStorage())
    async with up(storage) as engine:
        await engine.queues.create("q", paused=True)
        await submit_many(engine, 1_200)
        await purging(storage, engine, 1_200)
        await engine.queues.delete("q")
        assert await engine.queues.list() == []


async def test_the_sandbox_and_other_queues_are_not_purged(autojump_clock: object) -> None:
    async with up() as engine:
        await engine.queues.create("q", paused=True)
        other = await submit(engine, "other", delay=60)
        boxed = await submit(engine, environment=Environment.TEST)
        await submit(engine)
        assert await engine.queues.purge("q") == 1
        await settled()
        assert (await engine.get(other.id)).task.status is Status.PENDING
        assert (await engine.get(boxed.id, environment=Environment.TEST)).task.status is Status.PENDING
        assert await engine.queues.purge("q", environment=Environment.TEST) == 1
        await settled()
        with pytest.raises(NotFoundError):
            await engine.get(boxed.id, environment=Environment.TEST)


async def test_who_waits_for_a_sweep_is_told_when_it_cannot_go_on(autojump_clock: object) -> None:
    storage, told = Faulty(MemoryStorage()), list[str]()

    async def ask(what: str, request: Callable[[str], Awaitable[object]]) -> None:
        with pytest.raises(UnavailableError):
            await request("q")
        told.append(what)

    async def damaged(units: Sequence[Unit]) -> None:
        await trio.sleep(1)
        raise StorageCorruptError("the store is damaged")

    async with up(storage) as engine, trio.open_nursery() as nursery:
        await engine.queues.create("q", paused=True)
        await submit(engine)
        await engine.queues.purge("q")
        storage.before_commit = damaged
        nursery.start_soon(ask, "purge", engine.queues.purge)
        nursery.start_soon(ask, "deletion", engine.queues.delete)
        await trio.sleep(10)
        assert sorted(told) == ["deletion", "purge"]
