"""Rules 11, 14, 15 and 19: reads, and what is true of a storage as a whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import trio

from aq.errors import StorageError
from aq.ids import sequence_of
from aq.lifecycle import ended, started
from aq.policy import QueuePolicy
from aq.storage.answers import TaskFilter
from aq.storage.changes import Delete, Insert, Record, Start, Update
from aq.storage.conformance.bench import (
    FAILED,
    IMAGES,
    MAIL,
    NOW,
    SANDBOX,
    Bench,
    Case,
    Factory,
    expect,
)
from aq.task import Environment, Status


async def reads_beside_commits_see_one_moment(factory: Factory) -> None:
    """Rule 11."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        (task,) = await bench.put(bench.task())

        async def restart() -> None:
            now = task
            for _ in range(40):
                active = started(now, NOW)
                now, attempt = ended(active, FAILED, QueuePolicy(max_retries=100), now=NOW, chance=0)
                await bench.commit([Start(MAIL, now.id, active.version - 1, NOW)])
                await bench.commit([Update(now, Status.ACTIVE), Record(now.id, attempt)])
                expect(11, (await bench.stored(now)).task, now)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(restart)
            seen = 0
            while seen < 40:
                found = await bench.stored(task)
                seen = len(found.attempts)
                expect(11, found.task.failures, seen)


async def the_floor_only_rises(factory: Factory) -> None:
    """Rule 14."""
    async with factory() as storage:
        bench = Bench(storage)
        expect(14, ((await storage.floor()).now, (await storage.floor()).sequence), (0, 0))
        await bench.make(MAIL)
        low, high = bench.task(), bench.task()
        await bench.commit([Insert(high, b"{}"), Delete(MAIL, high.id)], now=NOW + 50)
        await bench.commit([Insert(low, b"{}")], now=NOW + 20)
        floor = await storage.floor()
        expect(14, (floor.now, floor.sequence), (NOW + 50, sequence_of(high.id)))


async def an_audit_of_what_is_sound_finds_nothing(factory: Factory) -> None:
    """Rule 19, of a store that was only ever written through its commits."""
    async with factory() as storage:
        bench = Bench(storage)
        expect(19, list(await storage.audit()), [])
        await bench.make(MAIL, IMAGES, SANDBOX)
        tasks = [
            bench.task(ordering_key=key, due_at=NOW + 10**8 * place) for place in range(4) for key in "kl"
        ]
        await bench.put(*tasks, bench.task(SANDBOX), bench.task(IMAGES, status=Status.ACTIVE, started_at=NOW))
        await bench.commit([Start(MAIL, tasks[0].id, 1, NOW)], [Delete(MAIL, tasks[1].id)])
        expect(19, list(await storage.audit()), [])


async def a_sound_store_has_no_damage(factory: Factory) -> None:
    """Rule 15, of a store that is whole."""
    async with factory() as storage:
        expect(15, storage.damage, None)


async def a_closed_storage_says_so(factory: Factory) -> None:
    """Every method raises StorageError once it is closed, and closing twice is closing once."""
    async with factory() as storage:
        await storage.aclose()
        await storage.aclose()
        calls: Sequence[Callable[[], Awaitable[Any]]] = [
            lambda: storage.commit([], NOW),
            lambda: storage.task("task_unheard"),
            lambda: storage.window(MAIL, NOW, 1),
            lambda: storage.expiring(MAIL, NOW, 1),
            lambda: storage.head_of(MAIL, "k"),
            lambda: storage.list_tasks(TaskFilter(), limit=1),
            lambda: storage.count_tasks(TaskFilter()),
            lambda: storage.failures(Environment.LIVE, None, most=1),
            lambda: storage.backlogs(Environment.LIVE, NOW),
            lambda: storage.claim(Environment.LIVE, "k", NOW),
            lambda: storage.schedule("schedule_unheard"),
            storage.schedules,
            storage.api_keys,
            storage.audit,
            storage.queues,
            storage.settings,
            storage.floor,
        ]
        for call in calls:
            try:
                await call()
            except StorageError:
                continue
            raise AssertionError("a closed storage answered")


CASES: Final[Sequence[Case]] = (
    reads_beside_commits_see_one_moment,
    the_floor_only_rises,
    an_audit_of_what_is_sound_finds_nothing,
    a_sound_store_has_no_damage,
    a_closed_storage_says_so,
)
