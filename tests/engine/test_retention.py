"""What has been kept for long enough goes, in small steps; nothing younger does, and nobody waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from aq.actors import janitor
from aq.actors.services import Sizes
from aq.engine import Engine
from aq.errors import NotFoundError, StorageCorruptError, StorageFullError
from aq.policy import QueuePolicy
from aq.storage.answers import Applied, TaskFilter
from aq.storage.changes import Change, Forget, Purge, PutQueue, Sweep, Unit
from aq.storage.memory import MemoryStorage
from aq.task import Environment, NewTask, Queue, QueueKey, Status, Task
from tests.engine.storages import Faulty
from tests.engine.support import (
    BACK,
    FAILURE,
    URL,
    Gate,
    Receiver,
    settled,
    submit,
    submit_many,
    up,
    wait_for,
)

A_DAY = 86_400
SLACK = Sizes().tidied + 1


async def is_gone(engine: Engine, task: Task) -> bool:
    try:
        await engine.get(task.id, environment=task.queue.environment)
    except NotFoundError:
        return True
    return False


async def goes_at(engine: Engine, at: float, *tasks: Task, slack: float = SLACK) -> None:
    """They are kept until that moment of Trio's time, and gone soon after."""
    await trio.sleep_until(at - 0.001)
    for task in tasks:
        assert not await is_gone(engine, task)
    await trio.sleep_until(at + slack)
    for task in tasks:
        assert await is_gone(engine, task)


def asked_of(storage: Faulty, *kinds: type) -> list[Change]:
    return [c for units in storage.committed for unit in units for c in unit if isinstance(c, kinds)]


async def test_completed_and_failed_tasks_are_kept_for_as_long_as_their_queue_says(
    autojump_clock: object,
) -> None:
    receiver = Receiver(lambda delivery: FAILURE if delivery.json() else Receiver().answer(delivery))
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", max_retries=0, retention_completed=100, retention_failed=300)
        await engine.queues.create("fast", max_retries=0, retention_completed=0, retention_failed=0)
        good, bad = await submit(engine), await submit(engine, payload={"fail": 1})
        fast = [await submit(engine, "fast"), await submit(engine, "fast", payload={"fail": 1})]
        waiting = await submit(engine, delay=2_000)
        await trio.sleep(SLACK)
        assert [await is_gone(engine, task) for task in fast] == [True, True]
        await goes_at(engine, 100, good)
        await goes_at(engine, 300, bad)
        assert not await is_gone(engine, waiting)
        later = await submit(engine)
        await settled()
        await engine.queues.update("q", retention_completed=10_000)
        await trio.sleep(500)
        assert not await is_gone(engine, later)
        assert (await engine.queues.get("q")).counts.total == 2


async def test_a_day_and_two_weeks_unless_told_otherwise(autojump_clock: object) -> None:
    receiver = Receiver(lambda delivery: FAILURE if delivery.json() else Receiver().answer(delivery))
    async with up(runner=receiver, sizes=Sizes(tidied=600)) as engine:
        good, bad = await submit(engine), await submit(engine, payload={"fail": 1}, max_retries=0)
        await goes_at(engine, A_DAY, good, slack=601)
        await goes_at(engine, 14 * A_DAY, bad, slack=601)


@pytest.mark.parametrize(("finished", "most"), [(30, 20), (700, 450), (1_000, 0), (450, 249), (50, 50)])
async def test_beyond_so_many_the_oldest_go(autojump_clock: object, finished: int, most: int) -> None:
    async with up() as engine:
        await engine.queues.create("q", retention_max_tasks=most)
        tasks = await submit_many(engine, finished)
        await wait_for(engine, tasks)
        await trio.sleep(2 * SLACK)
        counts = (await engine.queues.get("q")).counts
        assert counts.completed == min(finished, most)
        kept = tasks[finished - most :] if most else []
        page = await engine.find(TaskFilter(), limit=2_000)
        assert [task.id for task in page.tasks] == [task.id for task in reversed(kept)]


async def test_of_those_that_are_not_too_old_none_goes_for_those_that_were(autojump_clock: object) -> None:
    """Too many with the old ones, and not too many without them."""
    async with up() as engine:
        await engine.queues.create("q", retention_completed=100, retention_max_tasks=50)
        old = await submit_many(engine, 40)
        await trio.sleep_until(95)
        young = await submit_many(engine, 40)
        await trio.sleep_until(120 + SLACK)
        assert [await is_gone(engine, task) for task in old] == [True] * 40
        assert [await is_gone(engine, task) for task in young] == [False] * 40


async def test_it_goes_in_small_steps_and_deliveries_go_on(autojump_clock: object) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver()
    async with up(storage, receiver) as engine:
        await engine.queues.create("q", retention_completed=10)
        await wait_for(engine, await submit_many(engine, 2_000))
        await trio.sleep_until(Sizes().tidied - 0.01)
        storage.committed.clear()
        began = trio.current_time()
        while (await engine.queues.get("q")).counts.completed > 20:
            await submit(engine)
            await settled()
            await trio.sleep(0.01)
        assert trio.current_time() - began < SLACK
        assert max(receiver.began[i] - receiver.began[i - 1] for i in range(2_001, len(receiver.began))) < 1
        sweeps = [change for change in asked_of(storage, Sweep) if isinstance(change, Sweep)]
        assert 10 <= len(sweeps) <= 12
        assert all(sweep.limit <= 200 for sweep in sweeps)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"retention_completed": 10}, {"retention_completed": 10_000}),
        ({"retention_failed": 10}, {"retention_failed": 10_000}),
        ({"retention_max_tasks": 0}, {"retention_max_tasks": 600}),
    ],
)
async def test_what_a_change_keeps_stays_though_its_sweep_has_begun(
    autojump_clock: object, short: dict[str, Any], long: dict[str, Any]
) -> None:
    failing = Receiver(lambda delivery: FAILURE) if "retention_failed" in short else Receiver()
    async with up(runner=failing) as engine:
        await engine.queues.create("q", max_retries=0, **short)
        await wait_for(engine, await submit_many(engine, 600))
        await trio.sleep_until(Sizes().tidied + janitor.PAUSE / 2)
        assert (await engine.list()).total == 600 - janitor.STEP
        await engine.queues.update("q", **long)
        await trio.sleep(3 * SLACK)
        assert (await engine.list()).total == 600 - janitor.STEP


async def test_sandbox_tasks_go_after_a_week(autojump_clock: object) -> None:
    async with up(sizes=Sizes(tidied=600)) as engine:
        old = await submit(engine, environment=Environment.TEST)
        many = [NewTask("q", URL)] * 450
        await engine.submit_all(many, environment=Environment.TEST)
        live = await submit(engine, delay=30 * A_DAY)
        await trio.sleep_until(A_DAY)
        young = await submit(engine, environment=Environment.TEST, delay=20 * A_DAY)
        await goes_at(engine, 7 * A_DAY, old, slack=601)
        counts = (await engine.queues.get("q", environment=Environment.TEST)).counts
        assert counts.pending == 1
        await goes_at(engine, 8 * A_DAY, young, slack=601)
        assert not await is_gone(engine, live)


async def test_callbacks_are_kept_as_the_tasks_of_their_queue(autojump_clock: object) -> None:
    async with up() as engine:
        await engine.queues.create("q", retention_completed=1_000)
        task = await submit(engine, callback_url=BACK)
        await trio.sleep(900)
        assert (await engine.get(task.id)).callback is not None
        await trio.sleep(200)
        assert (await engine.find(TaskFilter(Environment.CALLBACK))).tasks == []


async def test_claims_go_after_a_day(autojump_clock: object) -> None:
    storage = Faulty(MemoryStorage())
    async with up(storage) as engine:
        for number in range(450):
            await submit(engine, idempotency_key=str(number))
        await trio.sleep_until(A_DAY - 1)
        later = await submit(engine, idempotency_key="later")
        await trio.sleep_until(A_DAY + SLACK)
        (left,) = await storage.commit([[Forget(1 << 60, 1_000)]], 0)
        assert left == Applied(1)
        assert await submit(engine, idempotency_key="later") != later
        forgets = [change for change in asked_of(storage, Forget) if isinstance(change, Forget)]
        assert all(forget.limit <= 200 for forget in forgets[:-1])


@pytest.mark.parametrize("error", [StorageFullError, StorageCorruptError])
async def test_a_storage_that_takes_no_writes_does_not_end_it(
    autojump_clock: object, error: type[Exception]
) -> None:
    storage = Faulty(MemoryStorage())
    failing = True

    def fail(units: Sequence[Unit]) -> None:
        if failing and any(isinstance(c, Sweep | Purge | Forget) for unit in units for c in unit):
            raise error("no")

    async with up(storage) as engine:
        await engine.queues.create("q", retention_completed=0)
        await submit(engine)
        storage.before_commit = fail
        await trio.sleep(100)
        assert (await engine.list()).total == 1
        if error is StorageFullError:
            failing = False
            await trio.sleep(100)
            assert (await engine.list()).total == 0


async def test_what_runs_or_waits_is_never_too_old(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", retention_completed=0, retention_failed=0, retention_max_tasks=0)
        active = await submit(engine, timeout=900)
        waiting = await submit(engine, delay=900)
        await trio.sleep(400)
        await gate.end(active, FAILURE)
        await trio.sleep(0.5)
        views = [await engine.get(task.id) for task in (active, waiting)]
        assert [view.task.status for view in views] == [Status.PENDING] * 2


async def test_what_waits_takes_nobodys_place(autojump_clock: object) -> None:
    async with up() as engine:
        await engine.queues.create("q", retention_max_tasks=5)
        done = await submit_many(engine, 5)
        await submit_many(engine, 10, delay=900)
        await trio.sleep(2 * SLACK)
        assert [await is_gone(engine, task) for task in done] == [False] * 5


async def test_of_deleted_queues_nothing_is_left(autojump_clock: object) -> None:
    storage = MemoryStorage()
    async with up(storage) as engine:
        for number in range(5):
            task = await submit(engine, f"q{number}", callback_url=BACK)
            await wait_for(engine, [task])
            await settled()
            await engine.queues.delete(f"q{number}")
        assert await storage.queues()  # their callbacks
        await trio.sleep(QueuePolicy().retention_completed + 3 * Sizes().tidied)
        assert not await storage.queues()
        services, root = engine._services, engine._root  # what only grows shows nowhere else
        assert not services.policies._known
        assert not root._idle_since
        assert not root._mailboxes


class MadeMeanwhile(MemoryStorage):
    """While it tells its queues, somebody does something."""

    async def meanwhile(self) -> None: ...

    async def queues(self, environment: Environment | None = None) -> Sequence[Queue]:
        queues = await super().queues(environment)
        await self.meanwhile()
        return queues


async def test_a_queue_that_is_made_during_a_round_keeps_its_policy(autojump_clock: object) -> None:
    storage, key = MadeMeanwhile(), QueueKey(Environment.CALLBACK, "q")
    async with up(storage, Receiver(lambda delivery: FAILURE)) as engine:
        await trio.sleep(1)
        await storage.commit([[PutQueue(Queue(key, QueuePolicy(), created_at=0))]], engine.clock.now())

        async def make() -> None:
            storage.meanwhile = MemoryStorage().aclose  # type: ignore[method-assign]
            await engine.queues.create("q", max_retries=0)

        storage.meanwhile = make  # type: ignore[method-assign]
        await trio.sleep(Sizes().tidied)
        assert await storage.queue(key) is None
        task = await submit(engine)
        await trio.sleep(0.5)
        assert (await engine.get(task.id)).task.status is Status.FAILED


async def test_a_retry_during_a_round_costs_no_other_task(autojump_clock: object) -> None:
    storage = MadeMeanwhile()
    async with up(storage, Receiver(lambda delivery: FAILURE)) as engine:
        await engine.queues.create("q", max_retries=0, retention_max_tasks=2)
        tasks = [await submit(engine) for _ in range(3)]
        await wait_for(engine, tasks)
        await engine.queues.pause("q")

        async def retry() -> None:
            storage.meanwhile = MemoryStorage().aclose  # type: ignore[method-assign]
            await engine.retry(tasks[2].id)

        storage.meanwhile = retry  # type: ignore[method-assign]
        await trio.sleep(2 * Sizes().tidied)
        counts = (await engine.queues.get("q")).counts
        assert (counts.failed, counts.pending) == (2, 1)
