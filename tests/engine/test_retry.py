"""Failed tasks wait again: one, or many by what they are; history goes on, and each counts once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import trio

from aq.engine import Engine
from aq.errors import ConflictError, NotFoundError, UnavailableError
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.queues import Retry
from aq.storage.answers import TaskFilter, TaskPage
from aq.storage.changes import Change, Purge, PutQueue, Unit, Update
from aq.storage.memory import MemoryStorage
from aq.task import Environment, Status
from tests.engine.storages import Faulty, full_once
from tests.engine.support import (
    EPOCH,
    FAILURE,
    GONE,
    SUCCESS,
    URL,
    Gate,
    Mortal,
    Receiver,
    ended,
    meddle,
    settled,
    slow,
    submit,
    submit_many,
    until_it_dies,
    up,
    wait_for,
)


# -- one ----------------------------------------------------------------------------------------------------
async def test_a_failed_task_waits_again_and_its_history_goes_on(autojump_clock: object) -> None:
    outcomes = [FAILURE, FAILURE, FAILURE, SUCCESS]
    receiver = Receiver(lambda delivery: outcomes[delivery.attempt - 1])
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", retry_jitter=0)
        task = await submit(engine, max_retries=1)
        with pytest.raises(ConflictError):
            await engine.retry(task.id)
        await wait_for(engine, [task])
        await trio.sleep_until(100)
        receipt = (await engine.retry(task.id)).value
        assert (receipt.task.status, receipt.task.due_at) == (Status.PENDING, (EPOCH + 100) * 1_000_000)
        assert (receipt.max_retries, receipt.task.failure_reason) == (1, None)
        await wait_for(engine, [task])
        view = await engine.get(task.id)
        with pytest.raises(ConflictError):
            await engine.retry(task.id)
    assert [a.number for a in view.attempts] == [1, 2, 3, 4]
    assert [a.status for a in view.attempts] == ["failure"] * 3 + ["success"]
    assert receiver.began == [0, 1, 100, 101]
    assert (view.task.status, view.task.failures) == (Status.COMPLETED, 1)


async def test_what_is_not_there_or_only_waits_is_not_retried() -> None:
    async with up() as engine:
        waiting = await submit(engine, delay=60)
        boxed = await submit(engine, environment=Environment.TEST)
        with pytest.raises(ConflictError):
            await engine.retry(waiting.id)
        for missing in ("task_" + "0" * 26, boxed.id):
            with pytest.raises(NotFoundError):
                await engine.retry(missing)


async def test_of_two_retries_of_one_task_one_counts(autojump_clock: object) -> None:
    receiver = Receiver(lambda delivery: GONE)
    async with up(runner=receiver) as engine:
        task = await submit(engine)
        await wait_for(engine, [task])
        done: list[object] = []

        async def retry() -> None:
            try:
                done.append(await engine.retry(task.id))
            except ConflictError as error:
                done.append(error)

        await engine.queues.pause("q")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(retry)
            nursery.start_soon(retry)
        assert sum(isinstance(one, ConflictError) for one in done) == 1
        await engine.queues.resume("q")
        await wait_for(engine, [task])
    assert len(receiver.seen) == 2


# -- many ---------------------------------------------------------------------------------------------------
def at(second: float) -> datetime:
    return datetime.fromtimestamp(EPOCH + second, UTC)


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ({}, ["gone", "late", "far"]),
        ({"tag": "red"}, ["gone", "late"]),
        ({"tag": "blue", "error_type": "timeout"}, ["late"]),
        ({"destination": "https://far.example"}, ["far"]),
        ({"failed_after": at(10)}, ["late", "far"]),
        ({"failed_before": at(10)}, ["gone"]),
        ({"failed_after": at(5), "failed_before": at(15)}, ["late"]),
        ({"limit": 2}, ["gone", "late"]),
        ({"tag": "red", "limit": 5}, ["gone", "late"]),
        ({"tag": "green"}, []),
    ],
)
async def test_many_by_what_they_are_and_how_they_failed(
    autojump_clock: object, which: dict[str, Any], names: list[str]
) -> None:
    late = Outcome(status=AttemptStatus.TIMEOUT, error_type=ErrorType.TIMEOUT)
    receiver = Receiver(lambda delivery: {"gone": GONE, "late": late}.get(delivery.json()["n"], FAILURE))
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", max_retries=0)
        await submit(engine, payload={"n": "gone"}, tags=["red"])
        await trio.sleep_until(10)
        await submit(engine, payload={"n": "late"}, tags=["red", "blue"])
        await trio.sleep_until(20)
        await submit(engine, url="https://far.example/", payload={"n": "far"}, tags=["blue"])
        await submit(engine, "other", payload={"n": "other"}, max_retries=0)
        await trio.sleep_until(30)
        receiver.seen.clear()
        count = await engine.queues.retry("q", Retry(**which, dry_run=True))
        await settled()
        assert (count.value, receiver.seen) == (len(names), [])
        assert (await engine.queues.retry("q", Retry(**which))).value == len(names)
        await settled()
        assert sorted(delivery.json()["n"] for delivery in receiver.seen) == sorted(names)
        assert {delivery.attempt for delivery in receiver.seen} <= {2}
        assert (await engine.queues.get("q")).revival is None


async def test_what_fails_after_the_answer_is_not_covered(autojump_clock: object) -> None:
    """Neither those that fail for the first time, nor those that fail again."""
    storage, receiver = Faulty(MemoryStorage()), Receiver(lambda delivery: GONE, takes=0.1)
    async with up(storage, receiver) as engine:
        await engine.queues.create("q", concurrency=1_000)
        await wait_for(engine, await submit_many(engine, 450))
        storage.before_commit = slow(PutQueue)
        assert (await engine.queues.retry("q")).value == 450
        new = await submit_many(engine, 50)
        await trio.sleep(60)
        attempts = [len((await engine.get(task.id)).attempts) for task in new]
        counts = (await engine.queues.get("q")).counts
    assert (attempts, counts.failed, len(receiver.seen)) == ([1] * 50, 500, 450 * 2 + 50)


async def test_a_second_one_while_one_is_under_way_is_a_conflict(autojump_clock: object) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver(lambda delivery: GONE)
    async with up(storage, receiver) as engine:
        await wait_for(engine, await submit_many(engine, 250))
        storage.before_commit = slow(Update)
        await engine.queues.retry("q")
        with pytest.raises(ConflictError, match="under way"):
            await engine.queues.retry("q")
        await trio.sleep(60)
        await engine.queues.retry("q", Retry(limit=1))
        with pytest.raises(NotFoundError):
            await engine.queues.retry("nowhere")


@pytest.mark.parametrize("limit", [None, 320])
@pytest.mark.parametrize("after", [False, True])
async def test_it_goes_on_after_a_crash_in_any_step(
    autojump_clock: object, limit: int | None, after: bool
) -> None:
    for steps in range(1, 5):
        memory = MemoryStorage()
        async with up(memory, Receiver(lambda delivery: GONE)) as engine:
            tasks = await submit_many(engine, 350)
            await wait_for(engine, tasks)
        mortal, gate = Mortal(memory, after=after), Gate()
        left = [steps]

        def step(units: Sequence[Unit], left: list[int] = left) -> bool:
            revivals = any(isinstance(c, Update) and c.was is Status.FAILED for u in units for c in u)
            left[0] -= revivals
            return revivals and left[0] == 0

        mortal.dies_on = step
        await until_it_dies(mortal, gate, lambda engine: engine.queues.retry("q", Retry(limit=limit)))
        receiver = Receiver()
        async with up(memory, receiver) as engine:
            await trio.sleep(100)
            counts = (await engine.queues.get("q")).counts
            assert (counts.completed, counts.failed) == (limit or 350, 350 - (limit or 350))
            assert {task.id for task in tasks[:limit]} == set(receiver.ids)
            assert (await engine.queues.get("q")).revival is None
        assert await memory.audit() == []


class SlowLists(Faulty):
    """Whoever asks for a page upwards has it a second after it was read."""

    async def list_tasks(self, which: TaskFilter, **how: Any) -> TaskPage:
        page = await super().list_tasks(which, **how)
        if how.get("after") is not None:
            await trio.sleep(1)
        return page


async def test_one_that_was_retried_alone_meanwhile_holds_up_no_other(autojump_clock: object) -> None:
    for _ in range(5):  # Trio shuffles who goes first
        storage, receiver = SlowLists(MemoryStorage()), Receiver(lambda delivery: GONE)
        async with up(storage, receiver) as engine:
            tasks = await submit_many(engine, 12)
            await wait_for(engine, tasks)
            receiver.answer = lambda delivery: SUCCESS
            await engine.queues.retry("q")
            await trio.sleep(0.5)
            for task in tasks[3:6]:
                await engine.retry(task.id)
            await trio.sleep(20)
            counts = (await engine.queues.get("q")).counts
            assert (counts.completed, counts.failed) == (12, 0)
            assert (await engine.queues.get("q")).revival is None


@pytest.mark.parametrize("kind", [Update, PutQueue])
async def test_a_disk_that_is_full_for_a_moment_does_not_end_it(autojump_clock: object, kind: type) -> None:
    """Neither in a step, nor as the mark is taken away."""
    storage, receiver = Faulty(MemoryStorage()), Receiver(lambda delivery: GONE)
    async with up(storage, receiver) as engine:
        await wait_for(engine, await submit_many(engine, 250))
        receiver.answer = lambda delivery: SUCCESS
        await engine.queues.retry("q")
        storage.before_commit = full_once(lambda change: type(change) is kind and not marked(change))
        await trio.sleep(60)
        queue = await engine.queues.get("q")
        assert (queue.counts.completed, queue.revival) == (250, None)
        assert (await engine.queues.retry("q")).value == 0


def marked(change: Change) -> bool:
    return isinstance(change, PutQueue) and change.queue.revival is not None


async def test_a_step_that_is_refused_takes_no_other_change_of_the_queue_with_it(
    autojump_clock: object,
) -> None:
    storage, receiver = SlowLists(MemoryStorage()), Receiver(lambda delivery: GONE)
    async with up(storage, receiver) as engine:
        tasks = await submit_many(engine, 5)
        await wait_for(engine, tasks)
        receiver.answer = lambda delivery: SUCCESS
        await engine.queues.retry("q")
        await trio.sleep(0.5)
        await engine.retry(tasks[2].id)
        storage.before_commit = slow(Update, 2)
        await trio.sleep(1)  # the step is on its way, and will be refused
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.queues.pause, "q")
            nursery.start_soon(engine.queues.purge, "q")
        await trio.sleep(60)
        queue = await engine.queues.get("q")
        assert (queue.policy.paused, queue.clearing, queue.revival) == (True, None, None)
        assert (queue.counts.failed, queue.counts.completed) == (0, 1)


async def test_who_waits_for_the_queue_s_row_is_told_when_its_supervisor_crashes(
    autojump_clock: object,
) -> None:
    storage, gate = Faulty(MemoryStorage()), Gate()

    async def pause(engine: Engine) -> None:
        with pytest.raises(UnavailableError, match="interrupted"):
            await engine.queues.pause("q")

    async with up(storage, gate) as engine, trio.open_nursery() as nursery:
        task = await submit(engine)
        await settled()
        await meddle(storage.storage, task)
        storage.before_commit = slow(Update)
        await gate.end(task)
        nursery.start_soon(partial(engine.queues.update, "q", concurrency=3))
        await settled()  # this change of the row is under way, the next has to wait
        nursery.start_soon(pause, engine)
        await trio.sleep(10)
        await gate.end(task)
        policy = (await engine.queues.get("q")).policy
        assert (policy.concurrency, policy.paused) == (3, False)


async def test_those_of_one_ordering_key_go_one_by_one(autojump_clock: object) -> None:
    receiver = Receiver(lambda delivery: GONE)
    async with up(runner=receiver) as engine:
        tasks = await submit_many(engine, 150, ordering_key="k")
        await wait_for(engine, tasks)
        receiver.answer, receiver.takes = lambda delivery: SUCCESS, 1
        await engine.queues.retry("q")
        await wait_for(engine, tasks)
    assert receiver.ids[150:] == [task.id for task in tasks]
    assert receiver.most[URL] == 1


# -- beside a purge -----------------------------------------------------------------------------------------
async def test_what_is_retried_after_a_purge_is_not_swept_with_it(autojump_clock: object) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver(lambda delivery: GONE)
    async with up(storage, receiver) as engine:
        failed = await submit_many(engine, 150)
        await wait_for(engine, failed)
        await engine.queues.pause("q")
        await submit_many(engine, 4_200)
        receiver.answer = lambda delivery: SUCCESS
        storage.before_commit = slow(Purge)
        assert await engine.queues.purge("q") == 4_200
        with pytest.raises(UnavailableError, match="purged"):
            await engine.retry(failed[0].id)
        assert (await engine.queues.retry("q")).value == 150
        await engine.queues.resume("q")
        await trio.sleep(20)
        counts = (await engine.queues.get("q")).counts
        assert (counts.pending, counts.completed, counts.failed) == (0, 150, 0)


async def test_a_purge_takes_what_was_revived_so_far_and_the_rest_goes_on(autojump_clock: object) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver(lambda delivery: GONE)
    async with up(storage, receiver) as engine:
        await wait_for(engine, await submit_many(engine, 350))
        await engine.queues.pause("q")
        storage.before_commit = slow(Update)
        await engine.queues.retry("q")
        await trio.sleep(1.5)
        purged = await engine.queues.purge("q")
        await trio.sleep(60)
        counts = (await engine.queues.get("q")).counts
    assert purged in (100, 200)
    assert (counts.pending, counts.failed) == (350 - purged, 0)


async def test_what_is_retried_in_bulk_goes_first_from_the_moment_in_which_it_is_durable(
    autojump_clock: object,
) -> None:
    """Also where the supervisor hears of that in the turn in which it can start something again."""
    storage, receiver = Faulty(MemoryStorage()), Receiver(answer=lambda delivery: FAILURE)

    async def slowly() -> None:
        await trio.sleep(5)

    def slow_to_retry(units: Any) -> Any:
        return slowly() if any(isinstance(change, Update) for unit in units for change in unit) else None

    async with up(storage, receiver) as engine:
        await engine.queues.create("q", concurrency=1, max_retries=0)
        failed = await submit(engine)
        await ended(engine, failed)
        await ended(engine, await submit(engine, expires_in=11))
        await trio.sleep_until(10)
        later = await submit(engine, delay=2)
        storage.before_commit = slow_to_retry
        await engine.queues.retry("q", Retry(limit=1))
        await trio.sleep_until(30)
        await settled()
        assert receiver.ids[2:4] == [failed.id, later.id]
