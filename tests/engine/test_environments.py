"""The sandbox is a world of its own: its tasks are kept, counted, configured, and never run."""

from __future__ import annotations

import pytest
import trio

from aq.errors import NotFoundError
from aq.storage.answers import TaskFilter
from aq.storage.memory import MemoryStorage
from aq.task import Environment, NewTask, Status
from tests.engine.support import URL, Gate, Receiver, settled, submit, until_killed, up

TEST = Environment.TEST


async def test_sandbox_tasks_stay_pending_whatever_is_done(autojump_clock: object) -> None:
    storage, receiver = MemoryStorage(), Receiver()
    async with until_killed(storage, receiver) as engine:
        await engine.queues.create("q", environment=TEST, concurrency=3)
        one = await submit(engine, environment=TEST, ordering_key="k")
        news = [NewTask("q", URL, ordering_key="k"), NewTask("q", URL, delay=5, expires_in=9)]
        batch = await engine.submit_all(news, environment=TEST)
        tasks = [one, *(receipt.task for receipt in batch.value)]
        await engine.queues.pause("q", environment=TEST)
        await engine.queues.resume("q", environment=TEST)
        await submit(engine, url="http://live.example/")
        await trio.sleep(1_000)
    async with up(storage, receiver) as engine:
        await trio.sleep(1_000)
        for task in tasks:
            view = await engine.get(task.id, environment=TEST)
            assert (view.task.status, view.task.attempt) == (Status.PENDING, 0)
        await engine.delete(tasks[0].id, environment=TEST)
        await settled()
    assert [delivery.webhook_url for delivery in receiver.seen] == ["http://live.example/"]


async def test_nothing_of_one_is_seen_in_the_other(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", concurrency=1)
        await engine.queues.create("q", environment=TEST, concurrency=2, timeout=9)
        live = [await submit(engine) for _ in range(3)]
        boxed = [await submit(engine, environment=TEST) for _ in range(2)]
        for mine, other, tasks, theirs in (
            (Environment.LIVE, TEST, live, boxed),
            (TEST, Environment.LIVE, boxed, live),
        ):
            for task in theirs:
                with pytest.raises(NotFoundError):
                    await engine.get(task.id, environment=mine)
                with pytest.raises(NotFoundError):
                    await engine.delete(task.id, environment=mine)
                with pytest.raises(NotFoundError):
                    await engine.explain(task.id, environment=mine)
            page = await engine.find(TaskFilter(mine))
            assert ([task.id for task in page.tasks], page.total) == (
                [task.id for task in reversed(tasks)],
                len(tasks),
            )
            assert (await engine.queues.get("q", environment=mine)).counts.total == len(tasks)
            assert (await engine.get(tasks[0].id, environment=mine)).timeout == (9 if mine is TEST else 30)
            assert other is not mine
        await engine.queues.pause("q", environment=TEST)
        assert not (await engine.queues.get("q")).policy.paused
        await engine.queues.purge("q", environment=TEST)
        await settled()
        await engine.queues.delete("q", environment=TEST)
        assert (await engine.queues.get("q")).counts.total == 3
        assert [queue.key.name for queue in await engine.queues.list(environment=TEST)] == []
