"""What a task can ask for reaches its delivery: when, how, until when; alone and in a batch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import trio
from attrs import define

from aq.errors import ConflictError, ValidationError
from aq.storage.answers import Floor, TaskFilter
from aq.storage.changes import Insert
from aq.storage.memory import MemoryStorage
from aq.task import NewTask, Status, TraceContext
from tests.engine.storages import Faulty
from tests.engine.support import EPOCH, URL, Gate, Receiver, settled, slow, submit, up, wait_for

A_YEAR = 365 * 86_400
SECRETS = ("whsec_" + "A" * 32, "whsec_" + "B" * 32)


@define
class Wall:
    """A wall clock that can be stepped."""

    step: float = 0

    def __call__(self) -> float:
        return EPOCH + trio.current_time() + self.step

    def in_seconds(self, seconds: float) -> datetime:
        """What it will show by then."""
        return datetime.fromtimestamp(self(), UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize("step", [0, 7_200, -7_200, 0.25])
async def test_run_at_is_when_the_wall_clock_shows_it(autojump_clock: object, step: float) -> None:
    receiver, wall = Receiver(), Wall()
    async with up(runner=receiver, wall=wall) as engine:
        await trio.sleep(5)
        wall.step = step  # the service clock does not follow
        start = trio.current_time()
        one = await submit(engine, run_at=wall.in_seconds(50))
        (two,) = (await engine.submit_all([NewTask("q", URL, run_at=wall.in_seconds(70))])).value
        await wait_for(engine, [one, two.task])
    assert [at - start for at in receiver.began] == pytest.approx([50, 70], abs=1e-5)
    assert min(at - start for at in receiver.began) >= 50 - 1e-9


async def test_run_at_holds_on_a_storage_that_has_seen_a_later_time(autojump_clock: object) -> None:
    receiver, wall, storage = Receiver(), Wall(), MemoryStorage()
    await storage.commit([], (EPOCH + 10_000) * 1_000_000)
    assert (await storage.floor()) == Floor((EPOCH + 10_000) * 1_000_000)
    async with up(storage, receiver, wall=wall) as engine:
        task = await submit(engine, run_at=wall.in_seconds(50))
        await wait_for(engine, [task])
    assert receiver.began == [pytest.approx(50, abs=1e-5)]


@pytest.mark.parametrize("ago", [1, 86_400 * 400])
async def test_a_run_at_in_the_past_is_now(autojump_clock: object, ago: float) -> None:
    receiver, wall = Receiver(), Wall()
    async with up(runner=receiver, wall=wall) as engine:
        task = await submit(engine, run_at=wall.in_seconds(-ago))
        await wait_for(engine, [task])
    assert receiver.began == [0]
    assert task.due_at == task.created_at


async def test_run_at_may_lie_at_most_a_year_ahead(autojump_clock: object) -> None:
    wall = Wall()
    async with up(wall=wall) as engine:
        await submit(engine, run_at=wall.in_seconds(A_YEAR))
        for wrong in (wall.in_seconds(A_YEAR + 1), "9999-12-31T23:59:59Z"):
            with pytest.raises(ValidationError) as caught:
                await submit(engine, run_at=wrong)
            assert [error.field for error in caught.value.errors] == ["run_at"]
        with pytest.raises(ValidationError):
            NewTask("q", URL, run_at=wall.in_seconds(1), delay=1)


async def test_what_a_task_asks_for_reaches_its_delivery(autojump_clock: object) -> None:
    receiver = Receiver()
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", signing_secrets=list(SECRETS), timeout=17)
        new = NewTask("q", URL, {"a": [1]}, method="PATCH", headers={"X-Shop": "7"}, timeout=9)
        tasks = [await engine.submit(new, trace=TraceContext("00-1-2-01")), await submit(engine, delay=1)]
        (third,) = (await engine.submit_all([new], trace=TraceContext("00-3-4-01"))).value
        await wait_for(engine, [*tasks, third.task])
    one, three, two = receiver.seen
    for delivery, trace in ((one, "00-1-2-01"), (three, "00-3-4-01")):
        assert (delivery.method, delivery.headers) == ("PATCH", (("x-shop", "7"),))
        assert (delivery.traceparent, delivery.signing_secrets) == (trace, SECRETS)
        assert (delivery.timeout, delivery.json(), delivery.tells_of) == (9, {"a": [1]}, None)
    assert (two.method, two.headers, two.traceparent, two.timeout) == ("POST", (), None, 17)


async def test_new_secrets_sign_the_next_attempt(autojump_clock: object) -> None:
    receiver = Receiver()
    async with up(runner=receiver) as engine:
        task = await submit(engine, delay=5)
        await engine.queues.update("q", signing_secrets=[SECRETS[1]])
        await wait_for(engine, [task])
    assert receiver.seen[0].signing_secrets == SECRETS[1:]


async def test_tasks_are_found_by_their_tags() -> None:
    async with up() as engine:
        one = await submit(engine, tags=["red", "big"])
        two = await submit(engine, queue="other", tags=["red"])
        await submit(engine)
        for tag, found in (("red", [two.id, one.id]), ("big", [one.id]), ("blue", [])):
            page = await engine.find(TaskFilter(tag=tag))
            assert [task.id for task in page.tasks] == found
        assert (await engine.get(one.id)).task.options.tags == ("red", "big")


# -- batches ------------------------------------------------------------------------------------------------
async def test_a_batch_is_one_transaction_over_its_queues(autojump_clock: object) -> None:
    receiver, storage = Receiver(), Faulty(MemoryStorage())
    async with up(storage, receiver) as engine:
        news = [NewTask(queue, URL, {"n": n}, delay=n) for n, queue in enumerate(["a", "b", "a"])]
        receipts = (await engine.submit_all(news)).value
        units = [unit for units in storage.committed for unit in units]
        assert [len([c for c in unit if isinstance(c, Insert)]) for unit in units if unit].count(3) == 1
        tasks = [receipt.task for receipt in receipts]
        assert [(t.queue.name, t.status) for t in tasks] == [(q, Status.PENDING) for q in "aba"]
        assert sorted(tasks, key=lambda task: task.id) == tasks
        await wait_for(engine, tasks)
    assert (receiver.ids, receiver.began) == ([task.id for task in tasks], [0, 1, 2])


async def test_of_a_batch_with_a_wrong_task_nothing_is_left(autojump_clock: object) -> None:
    receiver, wall = Receiver(), Wall()
    wrong: list[Callable[[], NewTask]] = [
        lambda: NewTask("q", URL, run_at=wall.in_seconds(A_YEAR + 60)),
        lambda: NewTask("q", URL, delay=10, expires_in=10),
        lambda: NewTask("q", URL, idempotency_key="k"),
    ]
    async with up(runner=receiver, wall=wall) as engine:
        for make, name in zip(wrong, ("run_at", "expires_in", "idempotency_key"), strict=True):
            with pytest.raises(ValidationError) as caught:
                await engine.submit_all([NewTask("q", URL), make(), NewTask("q", URL), make()])
            assert [e.field for e in caught.value.errors] == [f"tasks[1].{name}", f"tasks[3].{name}"]
        await settled()
        assert (await engine.list()).total == 0
    assert receiver.seen == []


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_batch_whose_caller_has_gone_is_delivered_all_the_same(
    autojump_clock: object, key: str | None
) -> None:
    receiver, storage = Receiver(), Faulty(MemoryStorage())
    async with up(storage, receiver) as engine:
        await engine.queues.create("q")
        storage.before_commit = slow(Insert)
        with trio.move_on_after(0.5) as asking:
            await engine.submit_all([NewTask("q", URL, ordering_key=key)] * 3)
        assert asking.cancelled_caught
        await trio.sleep(3)
        assert len(receiver.seen) == 3


async def test_a_batch_waits_its_turn_like_any_other_task(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", concurrency=1)
        first = await submit(engine)
        low = await submit(engine, priority=3)
        news = [NewTask("q", URL, priority=priority) for priority in (2, 9, 3)]
        batch = [receipt.task for receipt in (await engine.submit_all(news)).value]
        for task in (first, batch[1], low, batch[2], batch[0]):
            await settled()
            await gate.end(task)
        await engine.queues.delete("q")


async def test_a_task_that_has_started_cannot_be_deleted(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        task = await submit(engine)
        await settled()
        with pytest.raises(ConflictError):
            await engine.delete(task.id)
        await gate.end(task)
        with pytest.raises(ConflictError):
            await engine.delete(task.id)
