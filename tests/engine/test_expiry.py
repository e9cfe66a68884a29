"""``expires_in``: no attempt starts once it is over, and the task has failed by then, whatever holds it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from aq.actors.services import Sizes
from aq.engine import Engine
from aq.errors import NotFoundError, StorageFullError, ValidationError
from aq.instants import SECOND
from aq.outcome import ErrorType
from aq.storage.memory import MemoryStorage
from aq.task import Environment, FailureReason, NewTask, Status, Task
from tests.engine.storages import Faulty
from tests.engine.support import (
    BACK,
    EPOCH,
    FAILURE,
    URL,
    Gate,
    Receiver,
    busy,
    ended,
    settled,
    submit,
    until_killed,
    up,
    wait_for,
)


async def ends_at(engine: Engine, at: float, *tasks: Task) -> None:
    """They wait until just before that moment of Trio's time, and have expired at it."""
    await trio.sleep_until(at - 0.001)
    for task in tasks:
        assert (await engine.get(task.id)).task.status is Status.PENDING
    await trio.sleep_until(at)
    await settled()
    for task in tasks:
        assert_expired((await engine.get(task.id)).task, at)


def assert_expired(task: Task, at: float | None = None) -> None:
    assert (task.status, task.failure_reason) == (Status.FAILED, FailureReason.EXPIRED)
    if at is not None:
        assert task.finished_at == (EPOCH + at) * SECOND


async def test_it_must_be_longer_than_the_wait_for_the_first_attempt() -> None:
    async with up() as engine:
        for wrong in ({"delay": 5, "expires_in": 5}, {"run_at": "2099-01-01T00:00:00Z", "expires_in": 9}):
            with pytest.raises(ValidationError):
                await submit(engine, **wrong)


async def test_while_its_queue_is_paused(autojump_clock: object) -> None:
    receiver = Receiver()
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", paused=True)
        later = await submit(engine, expires_in=20)
        task = await submit(engine, expires_in=10)
        (batched,) = (await engine.submit_all([NewTask("q", URL, expires_in=15)])).value
        await ends_at(engine, 10, task)
        await ends_at(engine, 15, batched.task)
        await ends_at(engine, 20, later)
        await engine.queues.resume("q")
        await settled()
        counts = (await engine.queues.get("q")).counts
    assert (receiver.seen, counts.failed, counts.pending) == ([], 3, 0)


async def test_while_the_queue_is_full(autojump_clock: object) -> None:
    receiver = Receiver(takes=10)
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", concurrency=1)
        first = await submit(engine)
        at_once = await submit(engine, expires_in=10)
        in_time = await submit(engine, expires_in=11)
        await ends_at(engine, 10, at_once)
        await wait_for(engine, [first, in_time])
    assert receiver.ids == [first.id, in_time.id]


async def test_while_the_rate_limit_or_its_destination_holds_it(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("slow", rate_limit={"per_second": 0.01})
        await engine.queues.create("held")
        limited = await submit(engine, "slow", expires_in=7)
        first = await submit(engine, "held")
        await settled()
        await gate.end(first, busy(60))
        held = await submit(engine, "held", expires_in=8)
        await ends_at(engine, 7, limited)
        await ends_at(engine, 8, held)
        assert gate.began == [first.id]


@pytest.mark.parametrize("batch", [False, True])
async def test_while_its_ordering_key_holds_it_back(autojump_clock: object, batch: bool) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        news = [NewTask("q", URL, ordering_key="k", expires_in=span) for span in (None, 10, None)]
        if batch:
            first, second, third = [receipt.task for receipt in (await engine.submit_all(news)).value]
        else:
            first, second, third = [await engine.submit(new) for new in news]
        await settled()
        await ends_at(engine, 10, second)
        await gate.end(first)
        assert gate.began == [first.id, third.id]
        await gate.end(third)


async def test_a_head_that_expires_lets_the_next_one_go(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", concurrency=1)
        blocker = await submit(engine)
        head = await submit(engine, ordering_key="k", expires_in=10)
        following = await submit(engine, ordering_key="k")
        await ends_at(engine, 10, head)
        await gate.end(blocker)
        assert gate.began == [blocker.id, following.id]
        await gate.end(following)


async def test_while_it_is_left_in_storage(autojump_clock: object) -> None:
    receiver = Receiver(takes=1)
    async with up(runner=receiver, sizes=Sizes(window=2)) as engine:
        await engine.queues.create("q", concurrency=1)
        ahead = [await submit(engine, priority=9) for _ in range(20)]
        task = await submit(engine, priority=1, expires_in=10)
        far = await submit(engine, delay=9, expires_in=15)
        await ends_at(engine, 10, task)
        await ends_at(engine, 15, far)
        await wait_for(engine, ahead)
    assert set(receiver.ids) == {task.id for task in ahead}


@pytest.mark.parametrize("paused", [False, True])
async def test_after_a_crash(autojump_clock: object, paused: bool) -> None:
    storage, receiver = MemoryStorage(), Receiver()
    async with until_killed(storage) as engine:
        await engine.queues.create("q", paused=True)
        while_down = await submit(engine, expires_in=10)
        afterwards = await submit(engine, expires_in=30)
    await trio.sleep(20)
    async with up(storage, receiver) as engine:
        await engine.queues.update("q", paused=paused)
        await settled()
        assert_expired((await engine.get(while_down.id)).task, 20)
        if paused:
            await ends_at(engine, 30, afterwards)
        else:
            await wait_for(engine, [afterwards])
    assert receiver.ids == ([] if paused else [afterwards.id])


async def test_an_attempt_that_runs_may_end(autojump_clock: object) -> None:
    receiver = Receiver(takes=20)
    async with up(runner=receiver) as engine:
        task = await submit(engine, expires_in=10)
        view = await ended(engine, task)
    assert (view.task.status, trio.current_time()) == (Status.COMPLETED, 20)


@pytest.mark.parametrize(("delay", "attempts"), [(4, 3), (5, 2)])
async def test_a_retry_that_would_come_too_late_is_none(
    autojump_clock: object, delay: float, attempts: int
) -> None:
    receiver = Receiver(lambda delivery: FAILURE)
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", retry_jitter=0, retry_backoff="fixed", retry_delay=delay)
        view = await ended(engine, await submit(engine, expires_in=10))
    assert_expired(view.task, delay * (attempts - 1))
    assert [attempt.error_type for attempt in view.attempts] == [ErrorType.UNKNOWN] * attempts
    assert view.task.error_type is ErrorType.EXPIRED


async def test_a_retry_that_comes_in_time_expires_while_it_waits(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        task = await submit(engine, expires_in=10)
        await engine.queues.update("q", paused=True)
        short = await submit(engine, expires_in=5)  # looked for at 5, while the first one runs
        await ends_at(engine, 5, short)
        await gate.end(task, FAILURE)
        await ends_at(engine, 10, task)
        assert [a.number for a in (await engine.get(task.id)).attempts] == [1]


async def test_revived_it_has_as_long_again(autojump_clock: object) -> None:
    async with up() as engine:
        await engine.queues.create("q", paused=True)
        one, two, three = [await submit(engine, expires_in=10, ordering_key=key) for key in (None, "k", "k")]
        await trio.sleep(15)
        await engine.retry(one.id)
        await engine.queues.retry("q")
        await ends_at(engine, 25, one, two, three)
        await engine.retry(one.id)
        await engine.queues.resume("q")
        assert (await ended(engine, one)).task.status is Status.COMPLETED


async def test_any_number_at_one_moment(autojump_clock: object) -> None:
    receiver = Receiver()
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", paused=True)
        for _ in range(3):
            await engine.submit_all([NewTask("q", URL, expires_in=10, callback_url=BACK)] * 500)
        await trio.sleep(10)
        await settled()
        counts = (await engine.queues.get("q")).counts
    assert (counts.pending, counts.failed, len(receiver.told)) == (0, 1_500, 1_500)


async def test_sandbox_tasks_stay(autojump_clock: object) -> None:
    async with up() as engine:
        task = await submit(engine, environment=Environment.TEST, expires_in=10)
        await trio.sleep(100)
        view = await engine.get(task.id, environment=Environment.TEST)
    assert view.task.status is Status.PENDING


async def test_no_space_on_the_disk_puts_it_off(autojump_clock: object) -> None:
    storage = Faulty(MemoryStorage())
    full = True

    def no_space(units: Any) -> None:
        if full and trio.current_time() >= 10:
            raise StorageFullError("no space left on the device")

    async with up(storage) as engine:
        await engine.queues.create("q", paused=True)
        task = await submit(engine, expires_in=10, callback_url=BACK)
        storage.before_commit = no_space
        await trio.sleep(20)
        assert (await engine.get(task.id)).task.status is Status.PENDING
        full = False
        await trio.sleep(1)
        assert_expired((await engine.get(task.id)).task)


async def test_what_is_purged_does_not_expire_while_it_is_swept(autojump_clock: object) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver()

    async def slowly() -> None:
        await trio.sleep(5)

    async with up(storage, receiver) as engine:
        await engine.queues.create("q", paused=True)
        news = [NewTask("q", URL)] * 2_500 + [NewTask("q", URL, expires_in=7, callback_url=BACK)] * 500
        tasks = [receipt.task for receipt in (await engine.submit_all(news)).value]
        assert await engine.queues.purge("q") == 3_000
        storage.before_commit = lambda units: slowly()
        alive = await submit(engine, expires_in=30)
        await trio.sleep(60)
        storage.before_commit = lambda units: None
        for task in tasks:
            with pytest.raises(NotFoundError):
                await engine.get(task.id)
        assert_expired((await engine.get(alive.id)).task)
        assert (await engine.queues.get("q")).counts.failed == 1
    assert receiver.told == []


async def test_who_learns_of_the_full_disk_when_looking_for_the_expired_starts_again_after(
    autojump_clock: object,
) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver()

    def no_space(units: Any) -> None:
        if 10 <= trio.current_time() < 20:
            raise StorageFullError("no space left on the device")

    async with up(storage, receiver) as engine:
        await ended(engine, await submit(engine, expires_in=10))
        later = await submit(engine, delay=12)
        storage.before_commit = no_space
        await trio.sleep_until(21)
        await settled()
        assert (await engine.get(later.id)).task.status is Status.COMPLETED
