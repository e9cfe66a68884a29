"""Ordering keys: one task of a key at a time, in the order of creation, whatever happens to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from random import Random

import pytest
import trio

from aq.actors.services import Sizes
from aq.delivery.protocol import Delivery
from aq.errors import NotFoundError
from aq.outcome import Outcome
from aq.storage.changes import PutQueue
from aq.storage.memory import MemoryStorage
from aq.storage.sqlite import open_sqlite
from aq.task import Environment, NewTask, Status, Task
from tests.engine.storages import Faulty
from tests.engine.support import (
    FAILURE,
    GONE,
    SUCCESS,
    URL,
    Gate,
    Mortal,
    Receiver,
    inline,
    settled,
    slow,
    submit,
    submit_many,
    until_it_dies,
    until_killed,
    up,
    wait_for,
)


def in_order(began: Sequence[str], tasks: Sequence[Task]) -> bool:
    """No task began before all attempts of those before it."""
    wanted = {task.id for task in tasks}
    runs = [task_id for task_id, _ in groupby(task_id for task_id in began if task_id in wanted)]
    return runs == [task.id for task in tasks]


async def test_one_at_a_time_over_failures_priorities_and_due_times(autojump_clock: object) -> None:
    random = Random(5)
    receiver = Receiver(lambda delivery: FAILURE if random.random() < 0.5 else SUCCESS, takes=0.5)
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", max_retries=2)
        keys = {
            key: [
                await submit(
                    engine,
                    url=f"{URL}{key}",
                    ordering_key=key,
                    priority=random.randint(1, 10),
                    delay=random.choice([0, 0, 3]),
                )
                for _ in range(12)
            ]
            for key in ("a", "b")
        }
        free = await submit_many(engine, 5, url=f"{URL}free")
        for tasks in keys.values():
            await wait_for(engine, tasks)
    for key, tasks in keys.items():
        assert in_order(receiver.ids, tasks)
        assert receiver.most[f"{URL}{key}"] == 1
    assert receiver.most[f"{URL}free"] == 5
    assert max(receiver.at(task.id)[0] for task in free) == 0


async def test_a_retry_holds_those_behind_it_and_no_others(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", retry_delay=100, retry_delay_max=100, retry_jitter=0)
        first, second = [await submit(engine, ordering_key="a", priority=p) for p in (1, 10)]
        other, unkeyed = await submit(engine, ordering_key="b"), await submit(engine)
        await settled()
        await gate.end(first, FAILURE)
        assert sorted(gate.began) == [first.id, other.id, unkeyed.id]
        await trio.sleep(99)
        assert second.id not in gate.began
        assert (await engine.get(second.id)).task.status is Status.PENDING
        await trio.sleep(1.5)
        assert gate.began[3:] == [first.id]
        await gate.end(first)
        assert gate.began[4:] == [second.id]


@pytest.mark.parametrize("outcome", [SUCCESS, GONE])
async def test_any_end_lets_the_next_one_go(autojump_clock: object, outcome: Outcome) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        tasks = [await submit(engine, ordering_key="k") for _ in range(3)]
        await settled()
        for number, task in enumerate(tasks):
            assert gate.began == [task.id for task in tasks[: number + 1]]
            await gate.end(task, outcome)


async def test_deleting_the_head_lets_the_next_one_go(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", retry_delay=100, retry_jitter=0)
        head, behind, last = [await submit(engine, ordering_key="k", delay=d) for d in (50, 0, 0)]
        await settled()
        assert gate.began == []
        await engine.delete(behind.id)  # not the head: nothing changes
        await settled()
        assert gate.began == []
        await engine.delete(head.id)
        await settled()
        assert gate.began == [last.id]
        new = await submit(engine, ordering_key="k")
        await gate.end(last, FAILURE)
        await engine.delete(last.id)  # it waits for its retry
        await settled()
        assert gate.began[1:] == [new.id]


async def test_a_revived_head_waits_for_the_one_that_runs_and_goes_before_the_rest(
    autojump_clock: object,
) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        first, second, third = [await submit(engine, ordering_key="k") for _ in range(3)]
        await settled()
        await gate.end(first, GONE)
        assert gate.began == [first.id, second.id]
        await engine.retry(first.id)
        await settled()
        assert gate.began == [first.id, second.id]
        await gate.end(second)
        assert gate.began[2:] == [first.id]
        await gate.end(first)
        assert gate.began[3:] == [third.id]


async def test_a_revived_task_goes_when_nothing_of_its_key_is_before_it(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        first, second = [await submit(engine, ordering_key="k") for _ in range(2)]
        await settled()
        await gate.end(first, GONE)
        await gate.end(second, GONE)
        await engine.retry(second.id)
        await settled()
        await engine.retry(first.id)
        await settled()
        assert gate.began[2:] == [second.id]
        await gate.end(second)
        assert gate.began[3:] == [first.id]


async def test_batches_join_the_line(autojump_clock: object) -> None:
    receiver = Receiver(takes=1)
    async with up(runner=receiver) as engine:
        tasks = [await submit(engine, ordering_key="a")]
        news = [NewTask("q", URL, ordering_key=key, priority=p) for p, key in enumerate("abab", 1)]
        batch = [receipt.task for receipt in (await engine.submit_all(news)).value]
        tasks += [batch[0], batch[2], await submit(engine, ordering_key="a", priority=10)]
        tasks += await submit_many(engine, 3, ordering_key="a")
        await wait_for(engine, [*tasks, *batch])
    assert in_order(receiver.ids, tasks)
    assert in_order(receiver.ids, [batch[1], batch[3]])
    assert receiver.began.count(0) == 2  # the first of each key


async def test_keys_of_one_name_in_two_queues_and_in_the_sandbox_are_apart(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await submit(engine, ordering_key="k", environment=Environment.TEST)
        tasks = [await submit(engine, queue, ordering_key="k") for queue in ("a", "b")]
        await settled()
        assert gate.began == [task.id for task in tasks]


async def test_in_lines_longer_than_a_window(autojump_clock: object) -> None:
    receiver = Receiver(takes=1)
    async with up(runner=receiver, sizes=Sizes(window=2)) as engine:
        await engine.queues.create("q", concurrency=4)
        lines: dict[str, list[Task]] = {key: [] for key in "abcdefgh"}
        for number in range(48):
            key = "abcdefgh"[number % 8]
            lines[key].append(await submit(engine, ordering_key=key, url=URL + key))
        free = await submit_many(engine, 20)
        for tasks in (*lines.values(), free):
            await wait_for(engine, tasks)
    for key, tasks in lines.items():
        assert in_order(receiver.ids, tasks)
        assert receiver.most[URL + key] == 1
    assert max(receiver.began) < (48 + 20) / 4 + 6  # and none of the four slots stood idle


# -- crashes ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("polite", [False, True])
async def test_over_restarts(autojump_clock: object, tmp_path: Path, polite: bool) -> None:
    """The one that was interrupted goes first again, and its retry holds the others back."""
    path, gate, receiver = str(tmp_path / "aq.db"), Gate(), Receiver()
    life = up if polite else until_killed
    async with open_sqlite(path, hop=inline) as storage, life(storage, gate) as engine:
        await engine.queues.create("q", retry_delay=100, retry_jitter=0)
        tasks = [await submit(engine, ordering_key="k") for _ in range(3)]
        await settled()
        await gate.end(tasks[0], FAILURE)
    async with open_sqlite(path, hop=inline) as storage, life(storage, gate) as engine:
        await trio.sleep(101)
        assert gate.began == [tasks[0].id] * 2
    async with open_sqlite(path, hop=inline) as storage, up(storage, receiver) as engine:
        await wait_for(engine, tasks)
        assert await storage.audit() == []
    assert receiver.ids == [task.id for task in tasks]


async def test_over_a_crash_in_any_commit(autojump_clock: object) -> None:
    for dies_at in range(2, 20):
        memory = MemoryStorage()
        attempts = Counter[str]()

        def judge(delivery: Delivery, attempts: Counter[str] = attempts) -> Outcome:
            attempts[delivery.task_id] += 1
            return FAILURE if attempts[delivery.task_id] == 1 else SUCCESS

        receiver = Receiver(judge, takes=1)
        async with until_killed(memory) as engine:
            await engine.queues.create("q", paused=True)
            lines = [await submit_many(engine, 4, url=URL + key, ordering_key=key) for key in "ab"]
        mortal = Mortal(memory, dies_at, after=dies_at % 2 == 0)
        await until_it_dies(mortal, receiver, lambda engine: engine.queues.resume("q"))
        async with up(memory, receiver, sizes=Sizes(window=2)) as engine:
            await engine.queues.resume("q")
            for tasks in lines:
                await wait_for(engine, tasks)
                assert in_order(receiver.ids, tasks)
        assert set(receiver.most.values()) == {1}
        assert await memory.audit() == []


async def test_a_line_whose_head_is_purged_is_over(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        tasks = [await submit(engine, ordering_key="k") for _ in range(3)]
        await settled()
        await engine.queues.purge("q")
        await settled()
        new = await submit(engine, ordering_key="k")
        await settled()
        assert gate.began == [tasks[0].id]
        await gate.end(tasks[0], FAILURE)
        await trio.sleep(2)
        await gate.end(tasks[0])
        assert gate.began == [tasks[0].id, tasks[0].id, new.id]
        with pytest.raises(NotFoundError):
            await engine.get(tasks[1].id)


async def test_a_batch_that_waits_for_its_queue_goes_behind_what_is_written_meanwhile(
    autojump_clock: object,
) -> None:
    storage, gate = Faulty(MemoryStorage()), Gate()
    async with up(storage, gate) as engine, trio.open_nursery() as nursery:
        await engine.queues.create("q")
        storage.before_commit = slow(PutQueue)
        batch: list[Task] = []

        async def submit_batch() -> None:
            news = [NewTask(queue, URL, ordering_key="k") for queue in ("q", "new")]
            batch.extend(receipt.task for receipt in (await engine.submit_all(news)).value)

        nursery.start_soon(submit_batch)
        await trio.sleep(0.5)
        first = await submit(engine, ordering_key="k")
        await settled()
        assert first.id < batch[0].id < batch[1].id
        await gate.end(first)
        assert [task_id for task_id in gate.began if task_id != batch[1].id] == [first.id, batch[0].id]
        await gate.end(batch[0])
        await gate.end(batch[1])
