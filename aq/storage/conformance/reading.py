"""Rules 11-15: reads, and what is true of a storage as a whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final

import trio

from aq.errors import StorageError
from aq.ids import sequence_of
from aq.lifecycle import ended, started
from aq.policy import QueuePolicy
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
from aq.storage.protocol import (
    Delete,
    Entry,
    Insert,
    PutSetting,
    Record,
    Start,
    TaskFilter,
    Update,
)
from aq.task import Environment, QueueKey, Status, Task


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


async def a_window_is_in_running_order(factory: Factory) -> None:
    """Rule 12."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES, SANDBOX)
        random = Random(3)  # noqa: S311
        tasks = [
            bench.task(priority=random.randint(1, 10), due_at=NOW + random.randint(-5, 5)) for _ in range(90)
        ]
        await bench.put(*tasks, bench.task(IMAGES), bench.task(SANDBOX))
        await bench.commit([Start(MAIL, tasks[0].id, 1, NOW)], [Delete(MAIL, tasks[1].id)])
        entries = [Entry(task.id, task.priority, task.due_at, 1) for task in tasks[2:]]
        for now in (NOW - 9, NOW - 1, NOW, NOW + 9):
            due = sorted(
                (entry for entry in entries if entry.due_at <= now),
                key=lambda entry: (-entry.priority, entry.due_at, entry.id),
            )
            upcoming = sorted(
                (entry for entry in entries if entry.due_at > now),
                key=lambda entry: (entry.due_at, entry.id),
            )
            for limit in (1, len(due), len(upcoming), 40, 1_000):
                window = await storage.window(MAIL, now, limit)
                expect(12, list(window.due), due[:limit])
                expect(12, list(window.upcoming), upcoming[:limit])
                complete = len(due) <= limit, len(upcoming) <= limit
                expect(12, (window.due_complete, window.upcoming_complete), complete)
        for key in (SANDBOX, QueueKey(Environment.LIVE, "unheard")):
            empty = await storage.window(key, NOW, 5)
            found = list(empty.due), empty.due_complete, list(empty.upcoming), empty.upcoming_complete
            expect(12, found, ([], True, [], True))


async def lists_are_newest_first(factory: Factory) -> None:
    """Rule 13."""
    async with factory() as storage:
        bench = Bench(storage)
        keys = MAIL, IMAGES, SANDBOX
        await bench.make(*keys)
        random = Random(4)  # noqa: S311
        tasks = [bench.task(random.choice(keys), status=random.choice(list(Status))) for _ in range(120)]
        await bench.put(*tasks)
        for environment in Environment:
            for name in (None, "mail", "images", "unheard"):
                for status in (None, *Status):
                    which = TaskFilter(environment, name, status)
                    wanted = [task for task in reversed(tasks) if _matches(task, which)]
                    page = await storage.list_tasks(which, limit=1_000)
                    expect(13, (list(page.tasks), page.total), (wanted, len(wanted)))
                    ids = [task.id for task in wanted]
                    expect(13, await bench.ids(which, limit=3, offset=2), ids[2:5])
                    below = tasks[60].id
                    expect(13, await bench.ids(which, before=below), [one for one in ids if one < below])
        expect(13, await bench.ids(TaskFilter(), before="task_unheard"), [])
        expect(13, (await storage.list_tasks(TaskFilter(), limit=0)).tasks, [])


def _matches(task: Task, which: TaskFilter) -> bool:
    return (
        task.queue.environment is which.environment
        and which.queue in (None, task.queue.name)
        and which.status in (None, task.status)
    )


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


async def active_gives_the_interrupted(factory: Factory) -> None:
    """The read `active`."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, SANDBOX)
        tasks = await bench.put(*[bench.task() for _ in range(5)])
        chosen = [tasks[3], tasks[0], tasks[4]]
        await bench.commit(*[[Start(MAIL, task.id, 1, NOW)] for task in chosen])
        by_id = [started(task, NOW) for task in (tasks[0], tasks[3], tasks[4])]
        expect(11, list(await storage.active(MAIL, 10)), by_id)
        expect(11, list(await storage.active(MAIL, 2)), by_id[:2])
        expect(11, list(await storage.active(SANDBOX, 2)), [])


async def settings_are_what_was_put_last(factory: Factory) -> None:
    """PutSetting and the read `settings`."""
    async with factory() as storage:
        bench = Bench(storage)
        expect(11, dict(await storage.settings()), {})
        await bench.commit([PutSetting("a", "1"), PutSetting("b", "x\u00e4\n"), PutSetting("a", "2")])
        await bench.commit([PutSetting("c", "")], [PutSetting("b", "y")])
        expect(11, dict(await storage.settings()), {"a": "2", "b": "y", "c": ""})


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
            lambda: storage.list_tasks(TaskFilter(), limit=1),
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
    a_window_is_in_running_order,
    lists_are_newest_first,
    the_floor_only_rises,
    active_gives_the_interrupted,
    settings_are_what_was_put_last,
    a_sound_store_has_no_damage,
    a_closed_storage_says_so,
)
