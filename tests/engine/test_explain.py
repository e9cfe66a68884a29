"""Why a task does not run: each reason in a situation made for it, with the instant when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from aq.actors.services import Sizes
from aq.engine import Engine
from aq.errors import NotFoundError, OverloadedError, StorageCorruptError, StorageFullError
from aq.explanation import Explanation, Why
from aq.instants import SECOND
from aq.storage.changes import Unit
from aq.storage.memory import MemoryStorage
from aq.task import Environment, Task
from tests.engine.storages import Faulty
from tests.engine.support import (
    EPOCH,
    FAILURE,
    Gate,
    Receiver,
    busy,
    settled,
    submit,
    submit_many,
    up,
    wait_for,
)


async def whys(engine: Engine, task: Task) -> dict[Why, float | None]:
    """Each reason, and when it is over in Trio's time."""
    told = await engine.explain(task.id, environment=task.queue.environment)
    assert all(reason.detail for reason in told.reasons)
    assert len({reason.why for reason in told.reasons}) == len(told.reasons)
    return {
        reason.why: None if reason.until is None else reason.until / SECOND - EPOCH for reason in told.reasons
    }


async def test_not_yet_due_running_and_ended(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        task = await submit(engine, delay=10)
        assert await whys(engine, task) == {Why.SCHEDULED: 10}
        await trio.sleep(10)
        await settled()
        assert await whys(engine, task) == {Why.RUNNING: None}
        await gate.end(task)
        told = await engine.explain(task.id)
        assert ([reason.why for reason in told.reasons], told.retries) == ([Why.ENDED], ())
        assert told.reasons[0].detail == "it is completed"
        with pytest.raises(NotFoundError):
            await engine.explain("task_" + "0" * 26)


async def test_paused_and_at_its_limits(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("paused", paused=True)
        await engine.queues.create("full", concurrency=1)
        await engine.queues.create("shop", destination_concurrency=1)
        await engine.queues.create("slow", rate_limit={"per_second": 0.1})
        paused = await submit(engine, "paused")
        for queue in ("full", "shop"):
            await submit(engine, queue)
        tasks = [await submit(engine, queue) for queue in ("full", "shop", "slow", "slow")]
        await settled()
        assert await whys(engine, paused) == {Why.PAUSED: None}
        assert await whys(engine, tasks[0]) == {Why.CONCURRENCY: None}
        assert await whys(engine, tasks[1]) == {Why.DESTINATION_CONCURRENCY: None}
        assert await whys(engine, tasks[2]) == {Why.RATE_LIMIT: 10}
        assert await whys(engine, tasks[3]) == {Why.RATE_LIMIT: 10, Why.TASKS_AHEAD: None}
        await trio.sleep(15)
        assert await whys(engine, tasks[3]) == {Why.RATE_LIMIT: 20}
        await engine.queues.pause("slow")
        assert await whys(engine, tasks[3]) == {Why.RATE_LIMIT: 20, Why.PAUSED: None}


async def test_held_until_the_pause_and_while_the_probe_is_out(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        first = await submit(engine, max_retries=0)
        await settled()
        await gate.end(first, busy(20))
        probe, rest = await submit(engine), await submit(engine)
        assert (await whys(engine, probe))[Why.DESTINATION_HELD] == 20
        await trio.sleep(20)
        await settled()
        assert await whys(engine, probe) == {Why.RUNNING: None}
        assert await whys(engine, rest) == {Why.DESTINATION_HELD: None}
        await gate.end(probe)
        assert await whys(engine, rest) == {Why.RUNNING: None}


async def test_behind_a_task_of_its_ordering_key(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", retry_delay=10, retry_jitter=0)
        first, second = [await submit(engine, ordering_key="k") for _ in range(2)]
        await settled()
        assert await whys(engine, second) == {Why.ORDERING_KEY: None}
        await gate.end(first, FAILURE)
        assert await whys(engine, first) == {Why.SCHEDULED: 10}
        told = await engine.explain(second.id)
        assert [reason.why for reason in told.reasons] == [Why.ORDERING_KEY]
        assert first.id in told.reasons[0].detail


async def test_the_server_is_busy(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate, max_attempts=1) as engine:
        await submit(engine, "one")
        task = await submit(engine, "two")
        await settled()
        assert await whys(engine, task) == {Why.SERVER_BUSY: None}


async def test_the_sandbox_never_runs() -> None:
    async with up() as engine:
        task = await submit(engine, environment=Environment.TEST)
        assert await whys(engine, task) == {Why.SANDBOX: None}


@pytest.mark.parametrize("error", [StorageFullError, StorageCorruptError])
async def test_nothing_can_be_written(autojump_clock: object, error: type[Exception]) -> None:
    storage = Faulty(MemoryStorage())

    def fail(units: Sequence[Unit]) -> None:
        raise error("no")

    async with up(storage) as engine:
        await submit(engine, delay=10)
        task = await submit(engine, delay=20)
        storage.before_commit = fail
        await trio.sleep(60)
        assert await whys(engine, task) == {Why.STORAGE: None}
        storage.before_commit = lambda units: None


async def test_the_service_is_stopping_or_the_queue_is_quarantined(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Faulty(MemoryStorage())

    def crash() -> None:
        raise RuntimeError("planted")

    async with up(storage, sizes=Sizes(restarts=0, window=1)) as engine:
        good = await submit(engine, "good", delay=1)
        bad = await submit_many(engine, 5, "bad", delay=1)
        storage.before_read = crash
        await trio.sleep(1)
        await settled()
        assert (await whys(engine, bad[-1])).keys() == {Why.QUARANTINED}
        told = await engine.explain(bad[-1].id)
        assert (told.exact, len(told.retries)) == (False, 3)
        storage.before_read = lambda: None
        await wait_for(engine, [good])
        late = await submit(engine, "good", delay=1)
        engine.begin_drain()
        assert await whys(engine, late) == {Why.SCHEDULED: 2, Why.DRAINING: None}
        await trio.sleep(1)
        assert await whys(engine, late) == {Why.DRAINING: None}
    assert (await whys(engine, late)).keys() == {Why.DRAINING}


async def test_a_supervisor_with_too_much_mail_is_not_said_to_stop(autojump_clock: object) -> None:
    storage = Faulty(MemoryStorage())
    stuck = trio.Event()
    async with up(storage, sizes=Sizes(requests=1)) as engine:
        task = await submit(engine, delay=60)
        await submit(engine, delay=1, expires_in=2)
        await engine.queues.pause("q")
        storage.before_commit = lambda units: stuck.wait()
        await trio.sleep(3)  # it waits for the disk, to find what has expired
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.explain, task.id)
            await trio.sleep(1)
            with pytest.raises(OverloadedError):
                await engine.explain(task.id)
            stuck.set()


@pytest.mark.parametrize("window", [2, 4_096])
async def test_how_many_go_before_it(autojump_clock: object, window: int) -> None:
    gate = Gate()
    async with up(runner=gate, sizes=Sizes(window=window)) as engine:
        await engine.queues.create("q", concurrency=1)
        first = await submit(engine)
        tasks = [await submit(engine, priority=priority) for priority in (1, 9, 5, 5, 9)]
        await settled()
        for ahead, place in enumerate([1, 4, 2, 3, 0]):
            told = await engine.explain(tasks[place].id)
            assert told.ahead == ahead or (not told.exact and told.ahead <= ahead)
            assert told.exact or window == 2
        await gate.end(first)


# -- the calendar -------------------------------------------------------------------------------------------
def planned(told: Explanation) -> list[tuple[int, float]]:
    return [(retry.attempt, retry.at / SECOND - EPOCH) for retry in told.retries]


@pytest.mark.parametrize(
    ("policy", "fields"),
    [
        ({}, {}),
        ({"retry_backoff": "linear", "retry_delay": 7, "max_retries": 6}, {"delay": 5}),
        ({"retry_backoff": "fixed", "retry_delay": 0.25}, {"max_retries": 5}),
        ({"retry_delay": 600, "retry_delay_max": 1_500, "max_retries": 9}, {"expires_in": 6_000}),
        ({"retry_delay": 86_400, "retry_delay_max": 31_536_000, "max_retries": 5}, {}),
        ({"retry_delay": 10}, {"expires_in": 30}),
        ({"max_retries": 0}, {}),
    ],
)
async def test_the_retries_come_as_they_were_told(
    autojump_clock: object, policy: dict[str, Any], fields: dict[str, Any]
) -> None:
    receiver = Receiver(lambda delivery: FAILURE)
    async with up(runner=receiver, sizes=Sizes(tidied=3_600)) as engine:
        await engine.queues.create("q", paused=True, retry_jitter=0, **policy)
        task = await submit(engine, **fields)
        told = planned(await engine.explain(task.id))
        await engine.queues.resume("q")
        await trio.sleep_until(fields.get("delay", 0))
        await settled()
        later = await engine.explain(task.id)
        assert later.task.status.final or planned(later) == told[1:]
        await wait_for(engine, [task], 5_000_000)
        view = await engine.get(task.id)
    assert list(zip([a.number for a in view.attempts][1:], receiver.began[1:], strict=True)) == told


async def test_the_retries_of_a_revived_task_and_of_one_that_runs(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", retry_jitter=0, max_retries=1, retry_delay=4)
        task = await submit(engine)
        await settled()
        assert planned(await engine.explain(task.id)) == [(2, 4)]
        await gate.end(task, FAILURE)
        assert planned(await engine.explain(task.id)) == []
        await trio.sleep(5)
        await gate.end(task, FAILURE)
        await engine.queues.pause("q")
        await engine.retry(task.id)
        assert planned(await engine.explain(task.id)) == [(4, 9)]
