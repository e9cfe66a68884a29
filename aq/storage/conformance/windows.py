"""Rule 12, and the other reads that scheduling lives on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

from msgspec.structs import replace

from aq.lifecycle import started
from aq.policy import QueuePolicy
from aq.storage.answers import Aside, Backlog, Window
from aq.storage.changes import Delete, DropQueue, Purge, PutQueue, Start, Update
from aq.storage.conformance.bench import (
    CALLBACKS,
    IMAGES,
    MAIL,
    MINUTE,
    NOW,
    SANDBOX,
    SECOND,
    Bench,
    Case,
    Factory,
    entry,
    expect,
)
from aq.task import Environment, Queue, QueueKey, Status, Task

HOSTS: Final = ("http://a.example", "http://a.example:8080", "https://b.example", "https://c.example")


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
        entries = [entry(task) for task in tasks[2:]]
        for now in (NOW - 9, NOW - 1, NOW, NOW + 9):
            due = sorted(
                (one for one in entries if one.due_at <= now),
                key=lambda one: (-one.priority, one.due_at, one.id),
            )
            upcoming = sorted(
                (one for one in entries if one.due_at > now),
                key=lambda one: (one.due_at, one.id),
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


async def a_window_leaves_destinations_aside(factory: Factory) -> None:
    """Rule 12, of ``aside``."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, SANDBOX)
        random = Random(5)  # noqa: S311
        tasks = [
            bench.task(
                webhook_url=f"{random.choice(HOSTS)}/x?y=1",
                priority=random.randint(1, 3),
                due_at=NOW + random.randint(-5, 2),
            )
            for _ in range(80)
        ]
        await bench.put(*tasks, bench.task(SANDBOX, webhook_url=HOSTS[0]))
        due = _in_order(task for task in tasks if task.due_at <= NOW)
        later = [task for task in tasks if task.due_at > NOW]
        upcoming = sorted(later, key=lambda task: (task.due_at, task.id))
        for aside in (HOSTS[:1], HOSTS[1:3], (*HOSTS, "http://unheard.example")):
            left = [task for task in due if task.destination not in aside]
            for limit in (1, 7, 100):
                apart = {}
                for host in aside:
                    theirs = [task for task in due if task.destination == host]
                    apart[host] = Aside([entry(task) for task in theirs[:limit]], len(theirs) <= limit)
                found = await storage.window(MAIL, NOW, 50, aside, limit)
                expect(12, [one.id for one in found.due], [task.id for task in left[:50]])
                expect(12, [one.id for one in found.upcoming], [task.id for task in upcoming])
                expect(12, found.due_complete, len(left) <= 50)
                expect(12, found.aside, apart)
        nothing = {HOSTS[0]: Aside([], True)}
        expect(12, (await storage.window(SANDBOX, NOW, 5, HOSTS[:1], 5)).aside, nothing)


def _in_order(tasks: Iterable[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: (-task.priority, task.due_at, task.id))


async def what_is_kept_apart_costs_nothing(factory: Factory) -> None:
    """Rule 12: tasks that are held back, or aside, are no hindrance to seeing the others."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        first = bench.task(ordering_key="k")
        await bench.put(first, *[bench.task(ordering_key="k", priority=9) for _ in range(20)])
        other, later = bench.task(priority=1), bench.task(ordering_key="l", due_at=NOW + 9)
        await bench.put(other, later, bench.task(ordering_key="l", due_at=NOW + 3))
        found = await storage.window(MAIL, NOW, 2)
        expect(12, found, Window([entry(first), entry(other)], True, [entry(later)], True))
        there = first.destination
        found = await storage.window(MAIL, NOW, 2, [there], 1)
        expect(12, found, Window([], True, [entry(later)], True, {there: Aside([entry(first)], False)}))


async def callbacks_are_scheduled_and_a_sandbox_is_not(factory: Factory) -> None:
    """Rule 12, of environments."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(CALLBACKS, SANDBOX)
        told, later, _ = await bench.put(
            bench.task(CALLBACKS), bench.task(CALLBACKS, due_at=NOW + 1), bench.task(SANDBOX)
        )
        expect(12, await storage.window(CALLBACKS, NOW, 5), Window([entry(told)], True, [entry(later)], True))
        for key in (SANDBOX, MAIL):
            expect(12, await storage.window(key, NOW, 5), Window([], True, [], True))


async def expiring_gives_what_ran_out_of_time(factory: Factory) -> None:
    """The read `expiring`."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, SANDBOX, IMAGES)
        a, b, c, d, e, running = (
            bench.task(ordering_key="k", due_at=NOW + 5, expires_at=NOW + at) for at in (3, 1, 1, 2, 9, 0)
        )
        there = bench.task(SANDBOX, expires_at=NOW)
        await bench.put(a, b, c, d, e, replace(running, status=Status.ACTIVE), there, bench.task())

        async def look(key: QueueKey, now: int, limit: int) -> tuple[list[Task], int | None]:
            found = await storage.expiring(key, now, limit)
            return list(found.tasks), found.next_at

        expect(12, await look(MAIL, NOW, 9), ([], NOW + 1))
        expect(12, await look(MAIL, NOW + 1, 9), ([b, c], NOW + 2))
        expect(12, await look(MAIL, NOW + 8, 3), ([b, c, d], NOW + 3))
        expect(12, await look(MAIL, NOW + 9, 9), ([b, c, d, a, e], None))
        expect(12, await look(SANDBOX, NOW, 9), ([there], None))
        expect(12, await look(IMAGES, NOW, 9), ([], None))
        later = replace(b, expires_at=NOW + 4, version=2)
        await bench.commit([Delete(MAIL, c.id)], [Update(later, Status.PENDING)])
        expect(12, await look(MAIL, NOW + 4, 9), ([d, a, later], NOW + 9))


async def backlogs_tell_what_waits(factory: Factory) -> None:
    """The read `backlogs`: scheduled to the minute, and the oldest that may be scheduled."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES, CALLBACKS)
        start = NOW // MINUTE * MINUTE
        a, b, c = await bench.put(
            bench.task(due_at=start + MINUTE - 1),
            bench.task(due_at=start + MINUTE, ordering_key="k"),
            bench.task(due_at=start - MINUTE, ordering_key="k"),
        )
        await bench.put(bench.task(IMAGES, due_at=start + 5 * MINUTE), bench.task(CALLBACKS, due_at=start))

        async def look(now: int, key: QueueKey = MAIL) -> tuple[int, int | None]:
            found = await storage.backlogs(key.environment, now)
            one = await storage.backlogs(key.environment, now, key.name)
            expect(19, one.get(key.name, Backlog()), found.get(key.name, Backlog()))
            return one.get(key.name, Backlog()).scheduled, one.get(key.name, Backlog()).oldest_due_at

        expect(19, await look(start), (1, a.due_at))
        expect(19, await look(start - 1), (2, a.due_at))
        expect(19, await look(start - 9 * MINUTE), (3, a.due_at))
        expect(19, await look(start + MINUTE), (0, a.due_at))
        expect(19, await look(start, IMAGES), (1, start + 5 * MINUTE))
        expect(19, await look(start, CALLBACKS), (0, start))
        later = replace(b, due_at=start + 7 * MINUTE, version=2)
        await bench.commit([Start(MAIL, a.id, 1, NOW)], [Update(later, Status.PENDING)])
        expect(19, await look(start + 6 * MINUTE), (1, later.due_at))
        await bench.commit([Delete(MAIL, b.id)])
        expect(19, await look(start), (0, c.due_at))
        await bench.commit([Purge(MAIL, 9, through=(1 << 63) - 1)])
        expect(19, await look(start - 9 * MINUTE), (0, None))
        expect(19, await look(start, SANDBOX), (0, None))


async def a_queue_made_anew_has_no_backlog(factory: Factory) -> None:
    """The read `backlogs`, of a name that was used before."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        await bench.put(bench.task(due_at=NOW + 5 * MINUTE, expires_at=NOW + SECOND))
        anew = PutQueue(Queue(MAIL, QueuePolicy(), NOW))
        await bench.commit([Purge(MAIL, 9, through=(1 << 63) - 1), DropQueue(MAIL)], [anew])
        found = await storage.backlogs(Environment.LIVE, NOW)
        expect(19, found.get("mail", Backlog()), Backlog())
        expect(19, list(await storage.audit()), [])
        expect(12, (await storage.expiring(MAIL, NOW + SECOND, 5)).tasks, [])


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


CASES: Final[Sequence[Case]] = (
    a_window_is_in_running_order,
    a_window_leaves_destinations_aside,
    what_is_kept_apart_costs_nothing,
    callbacks_are_scheduled_and_a_sandbox_is_not,
    expiring_gives_what_ran_out_of_time,
    backlogs_tell_what_waits,
    a_queue_made_anew_has_no_backlog,
    active_gives_the_interrupted,
)
