"""Rate limits, limits and pauses of a destination, and paused queues: what may start, and when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
import trio

from aq.actors.services import Sizes
from aq.delivery.protocol import Delivery
from aq.instants import Instant
from aq.outcome import Outcome
from aq.storage.answers import Window
from aq.storage.memory import MemoryStorage
from aq.storage.sqlite import open_sqlite
from aq.task import QueueKey, Status
from tests.engine.storages import Faulty
from tests.engine.support import (
    FAILURE,
    SUCCESS,
    Gate,
    Receiver,
    busy,
    inline,
    settled,
    submit,
    submit_many,
    until_killed,
    up,
    wait_for,
)

SHOP, ELSEWHERE = "http://shop.example/", "http://elsewhere.example/"


# -- rate limits --------------------------------------------------------------------------------------------
def assert_within(began: Sequence[float], burst: int, rate: float) -> None:
    """In any span of t seconds there are at most burst + rate * t starts."""
    for first, start in enumerate(began):
        for last in range(first, len(began)):
            assert last - first + 1 <= burst + rate * (began[last] - start) + 1e-6


async def test_no_span_has_more_starts_than_the_limit_allows(autojump_clock: object) -> None:
    random, receiver = Random(3), Receiver(lambda d: FAILURE if d.attempt == 1 else SUCCESS)
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", rate_limit={"per_second": 2, "burst": 5}, retry_delay=1)
        tasks = []
        for _ in range(40):
            tasks += await submit_many(engine, random.randint(1, 6), delay=random.choice([0, 0, 1, 7]))
            await trio.sleep(random.choice([0, 0.1, 3, 20]))
        await wait_for(engine, tasks)
    assert len(receiver.began) == 2 * len(tasks)
    assert_within(receiver.began, 5, 2)


async def test_it_is_used_up_as_long_as_there_is_work(autojump_clock: object) -> None:
    receiver = Receiver(takes=10)
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", rate_limit={"per_second": 4, "burst": 1})
        tasks = await submit_many(engine, 100, priority=3)
        first = await submit(engine, priority=9)
        await wait_for(engine, [*tasks, first])
    assert receiver.began == pytest.approx([number / 4 for number in range(1, 102)], abs=1e-3)
    assert receiver.ids[0] == first.id
    assert receiver.ids[1:] == [task.id for task in tasks]


@pytest.mark.parametrize("pause", [30, 100_000])
async def test_after_a_long_pause_the_burst_is_the_most(autojump_clock: object, pause: float) -> None:
    """Also when its supervisor has retired meanwhile, and its successor knows of nothing."""
    receiver = Receiver()
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", rate_limit={"per_second": 1, "burst": 3})
        for _ in range(3):
            await trio.sleep(pause)
            receiver.began.clear()
            start = trio.current_time()
            assert engine.statistics().supervisors == (pause < 60)
            await wait_for(engine, await submit_many(engine, 10))
            assert receiver.began == pytest.approx([start] * 3 + [start + n for n in range(1, 8)], abs=1e-3)


@pytest.mark.parametrize("how", ["restart", "crash of the supervisor"])
async def test_a_new_life_begins_with_an_empty_bucket(
    autojump_clock: object, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver()
    async with until_killed(storage, receiver, sizes=Sizes(window=1)) as engine:
        await engine.queues.create("q", rate_limit={"per_second": 1, "burst": 3})
        await trio.sleep(10)
        if how != "restart":
            crashes = [RuntimeError("planted")]

            def crash() -> None:
                if crashes:
                    raise crashes.pop()

            storage.before_read = crash
            tasks = await submit_many(engine, 10)
            await wait_for(engine, tasks)
            assert not crashes
    if how == "restart":
        async with up(storage, receiver) as engine:
            tasks = await submit_many(engine, 10)
            await wait_for(engine, tasks)
        assert receiver.began[0] >= 11
    assert_within(receiver.began, 3, 1)


async def test_a_change_of_the_limit_holds_at_once(autojump_clock: object) -> None:
    receiver = Receiver()
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", rate_limit={"per_second": 0.001})
        tasks = await submit_many(engine, 20)
        await trio.sleep_until(100)
        assert receiver.began == []
        await engine.queues.update("q", rate_limit={"per_second": 1, "burst": 4})
        await trio.sleep_until(105.5)
        few = len(receiver.began)
        assert 5 <= few <= 6
        await engine.queues.update("q", rate_limit=None)
        await wait_for(engine, tasks)
        assert receiver.began[few:] == [105.5] * (20 - few)
        await engine.queues.update("q", rate_limit={"per_second": 1, "burst": 10})
        await wait_for(engine, await submit_many(engine, 3))
    assert receiver.began[20:] == pytest.approx([106.5, 107.5, 108.5], abs=1e-3)


# -- destinations -------------------------------------------------------------------------------------------
async def test_so_many_at_once_at_each_destination(autojump_clock: object) -> None:
    random, receiver = Random(2), Receiver(takes=1)
    urls = [f"http://{number}.example/" for number in range(5)]
    async with up(runner=receiver, sizes=Sizes(window=4)) as engine:
        await engine.queues.create("q", destination_concurrency=2, concurrency=8)
        tasks = [
            await submit(engine, url=random.choice(urls), priority=random.randint(1, 3)) for _ in range(80)
        ]
        await wait_for(engine, tasks)
    assert set(receiver.most.values()) == {2}
    for url in urls:
        seen = [delivery.task_id for delivery in receiver.seen if delivery.webhook_url == url]
        mine = [task for task in tasks if task.webhook_url == url]
        assert seen[2:] == [task.id for task in sorted(mine, key=lambda t: (-t.priority, t.id))][2:] or (
            set(seen) == {task.id for task in mine}
        )


async def test_a_change_of_a_destinations_limit_holds_at_once(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", destination_concurrency=1)
        await submit_many(engine, 10)
        for limit, running in ((3, 3), (1, 3), (None, 10)):
            await settled()
            await engine.queues.update("q", destination_concurrency=limit)
            await settled()
            assert len(gate.held) == running


@pytest.mark.parametrize("code", [429, 503])
async def test_retry_after_holds_its_destination_for_every_queue(autojump_clock: object, code: int) -> None:
    """Nobody is tried meanwhile; then one probes, then the rest go, and it has cost them nothing."""
    receiver = Receiver(takes=1)
    receiver.answer = lambda delivery: busy(20, code) if trio.current_time() < 2 else SUCCESS
    async with up(runner=receiver) as engine:
        for queue in ("a", "b"):
            await engine.queues.create(queue, concurrency=1_000, retry_jitter=0)
        first = await submit(engine, "a", SHOP, max_retries=1)
        await trio.sleep(2)
        held = await submit_many(engine, 20, "a", SHOP) + await submit_many(engine, 20, "b", SHOP)
        others = [await submit(engine, queue, ELSEWHERE) for queue in ("a", "b")]
        await wait_for(engine, others)
        assert trio.current_time() == 3
        await wait_for(engine, [first, *held])
        views = [await engine.get(task.id) for task in held]
    at_shop = [
        at for delivery, at in zip(receiver.seen, receiver.began, strict=True) if delivery.webhook_url == SHOP
    ]
    assert at_shop == pytest.approx([0, 21] + [22] * 40, abs=1e-3)
    assert all(len(view.attempts) == 1 for view in views)


async def test_a_minute_is_the_longest_it_may_ask_for(autojump_clock: object) -> None:
    receiver = Receiver(lambda delivery: busy(86_400) if delivery.json() else SUCCESS)
    async with up(runner=receiver) as engine:
        await submit(engine, payload={"first": 1})
        await settled()
        task = await submit(engine, "other")
        await wait_for(engine, [task])
    assert receiver.began == [0, 60]


@pytest.mark.parametrize(
    "outcome", [busy(None), busy(20, 500), FAILURE, Outcome.failure("no", retry_after=20)]
)
async def test_other_answers_hold_nobody(autojump_clock: object, outcome: Outcome) -> None:
    receiver = Receiver(lambda delivery: outcome if delivery.json() else SUCCESS)
    async with up(runner=receiver) as engine:
        await submit(engine, payload={"first": 1})
        await settled()
        await wait_for(engine, [await submit(engine)])
    assert receiver.began[:2] == [0, 0]


@pytest.mark.parametrize(("verdict", "then"), [(FAILURE, 20), (busy(30), 50)])
async def test_the_probe_decides(autojump_clock: object, verdict: Outcome, then: float) -> None:
    """A failure without Retry-After frees the destination: somebody answered."""
    outcomes = [busy(20), verdict]
    receiver = Receiver(lambda delivery: outcomes.pop(0) if outcomes else SUCCESS)
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", max_retries=0)
        tasks = [await submit(engine)]
        await settled()
        tasks += await submit_many(engine, 10)
        await wait_for(engine, tasks)
    assert receiver.began == [0, 20, *[then] * 9]


async def test_one_probe_at_a_time_also_over_queues_and_a_deleted_queue(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        first = await submit(engine, "a", max_retries=0)
        await settled()
        await gate.end(first, busy(10))
        held = {name: await submit_many(engine, 3, name) for name in "abc"}
        await trio.sleep(11)
        assert len(gate.held) == 1
        await trio.sleep(10)
        (probe,) = gate.held
        assert probe in {tasks[0].id for tasks in held.values()}
        for name in "abc":
            await engine.queues.pause(name)
        await gate.end(probe)
        assert gate.held == {}
        for name in "abc":
            await engine.queues.resume(name)
        await settled()
        assert len(gate.held) == 8


async def test_a_probe_that_is_lost_is_followed_by_another(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A supervisor crashes while its probe is out: its successor, or another queue, sends the next one."""
    storage, gate = Faulty(MemoryStorage()), Gate()
    async with up(storage, gate, sizes=Sizes(window=1)) as engine:
        first = await submit(engine, "a", SHOP, max_retries=0)
        await settled()
        await gate.end(first, busy(10))
        (probe,) = await submit_many(engine, 1, "a", SHOP)
        await trio.sleep_until(10)
        await settled()
        (behind,) = await submit_many(engine, 1, "b", SHOP)
        await trio.sleep_until(15)
        assert gate.held.keys() == {probe.id}
        crashes = [RuntimeError("planted")]

        def crash() -> None:
            if crashes:
                raise crashes.pop()

        storage.before_read = crash
        await submit_many(engine, 5, "a", ELSEWHERE)
        while (await engine.list(status=Status.COMPLETED)).total != 7:
            await trio.sleep(1)
            assert len(gate.held.keys() & {probe.id, behind.id}) <= 1
            for task_id in list(gate.held):
                await gate.end(task_id)
            assert trio.current_time() < 60
        assert not crashes
        assert gate.began.count(probe.id) == 2


class Counting(Faulty):
    """Counts what the windows show."""

    windows = 0
    entries = 0

    async def window(
        self, key: QueueKey, now: Instant, limit: int, aside: Sequence[str] = (), aside_limit: int = 0
    ) -> Window:
        window = await super().window(key, now, limit, aside, aside_limit)
        self.windows += 1
        self.entries += len(window.due) + len(window.upcoming)
        self.entries += sum(len(apart.due) for apart in window.aside.values())
        return window


@pytest.mark.parametrize("how", ["held", "full"])
async def test_any_number_of_tasks_of_a_dead_destination_keeps_nobody_waiting(
    autojump_clock: object, how: str
) -> None:
    storage, gate = Counting(MemoryStorage()), Gate()
    async with up(storage, gate, sizes=Sizes(window=500)) as engine:
        await engine.queues.create("q", destination_concurrency=1 if how == "full" else None, concurrency=5)
        first = await submit(engine, url=SHOP, timeout=900)
        await settled()
        if how == "held":
            await gate.end(first, busy(60))
        dead = await submit_many(engine, 50_000, url=SHOP, priority=9)
        storage.windows = storage.entries = 0
        alive = [
            await submit(engine, url=ELSEWHERE if how == "held" else f"http://{n}.example/")
            for n in range(10)
        ]
        start = trio.current_time()
        while any(task.id not in gate.began for task in alive):
            for task in alive:
                if task.id in gate.held:
                    await gate.end(task)
            await settled()
        assert trio.current_time() == start
        assert not {task.id for task in dead} & set(gate.began)
        assert storage.windows < 10
        assert storage.entries < 10 * 500


# -- paused -------------------------------------------------------------------------------------------------
async def test_paused_it_stays_over_a_restart(autojump_clock: object, tmp_path: Path) -> None:
    path, gate, receiver = str(tmp_path / "aq.db"), Gate(), Receiver()
    async with open_sqlite(path, hop=inline) as storage, until_killed(storage, gate) as engine:
        running = await submit(engine)
        await settled()
        await engine.queues.pause("q")
        waiting = await submit(engine)
        await gate.end(running)  # what runs may end
        assert (await engine.get(running.id)).task.status is Status.COMPLETED
    async with open_sqlite(path, hop=inline) as storage, until_killed(storage, receiver) as engine:
        await trio.sleep(100)
        assert receiver.seen == []
        await engine.queues.resume("q")
    async with open_sqlite(path, hop=inline) as storage, up(storage, receiver) as engine:
        await wait_for(engine, [waiting])


async def test_a_change_of_policy_holds_for_those_that_wait(autojump_clock: object) -> None:
    seen: list[Delivery] = []

    async def runner(delivery: Delivery) -> Outcome:
        seen.append(delivery)
        return FAILURE

    async with up(runner=runner) as engine:
        await engine.queues.create("q", paused=True, max_retries=0)
        task, own = await submit(engine), await submit(engine, timeout=5, max_retries=1)
        await engine.queues.update("q", timeout=77, max_retries=2, retry_delay=3, retry_jitter=0)
        view = await engine.get(task.id)
        assert (view.timeout, view.max_retries) == (77, 2)
        await engine.queues.resume("q")
        await wait_for(engine, [task, own])
    assert [d.timeout for d in seen if d.task_id == task.id] == [77, 77, 77]
    assert [d.timeout for d in seen if d.task_id == own.id] == [5, 5]


async def test_more_slots_are_used_at_once_and_fewer_interrupt_nobody(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", concurrency=1)
        tasks = await submit_many(engine, 10)
        await settled()
        await engine.queues.update("q", concurrency=4)
        await settled()
        assert sorted(gate.began) == [task.id for task in tasks[:4]]
        await engine.queues.update("q", concurrency=2)
        for task in tasks[:2]:
            await gate.end(task)
            assert len(gate.began) == 4
        await gate.end(tasks[2])
        assert len(gate.began) == 5
