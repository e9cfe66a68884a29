"""Rules 13 and 20: lists and counts of tasks, failures by kind."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from aq.outcome import AttemptStatus, ErrorType
from aq.storage.answers import MOST_LOOKED_AT, FailureGroup, Failures, TaskFilter
from aq.storage.changes import Insert, Record
from aq.storage.conformance.bench import (
    IMAGES,
    MAIL,
    NOW,
    SANDBOX,
    SECOND,
    Bench,
    Case,
    Factory,
    expect,
)
from aq.storage.protocol import Storage
from aq.task import Attempt, Environment, Options, QueueKey, Status, Task

LIVE: Final = Environment.LIVE


async def lists_are_newest_first(factory: Factory) -> None:
    """Rule 13, of filters that the counters of queues answer."""
    async with factory() as storage:
        bench = Bench(storage)
        keys = MAIL, IMAGES, SANDBOX
        await bench.make(*keys)
        random = Random(4)  # noqa: S311
        tasks = [bench.task(random.choice(keys), status=random.choice(list(Status))) for _ in range(120)]
        await bench.put(*tasks)
        below = tasks[60].id
        names = None, (), ("mail",), ("images",), ("unheard",), ("mail", "images", "mail")
        for environment in Environment:
            for queues in names:
                for status in (None, *Status):
                    which = TaskFilter(environment, queues, status)
                    wanted = [task for task in reversed(tasks) if _counted(task, which)]
                    page = await storage.list_tasks(which, limit=1_000)
                    expect(13, (list(page.tasks), page.total, page.more), (wanted, len(wanted), None))
                    expect(13, await storage.count_tasks(which), len(wanted))
                    ids = [task.id for task in wanted]
                    expect(13, await bench.ids(which, limit=3, offset=2), ids[2:5])
                    expect(13, await bench.ids(which, before=below), [one for one in ids if one < below])
                    upwards = [one for one in reversed(ids) if one > below]
                    expect(13, await bench.ids(which, limit=7, after=below), upwards[:7])


def _counted(task: Task, which: TaskFilter) -> bool:
    return (
        task.queue.environment is which.environment
        and (which.queues is None or task.queue.name in which.queues)
        and which.status in (None, task.status)
    )


async def pages_follow_each_other(factory: Factory) -> None:
    """Rule 13: ``more`` is where to go on, until there is no more; both ways."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES)
        tasks = [bench.task(MAIL if place % 3 else IMAGES) for place in range(12)]
        await bench.put(*tasks)
        ids = [task.id for task in tasks]
        page = await storage.list_tasks(TaskFilter(), limit=5)
        expect(13, ([task.id for task in page.tasks], page.more, page.total), (ids[:6:-1], ids[7], 12))
        page = await storage.list_tasks(TaskFilter(), limit=5, offset=5)
        expect(13, ([task.id for task in page.tasks], page.more), (ids[6:1:-1], ids[2]))
        page = await storage.list_tasks(TaskFilter(), limit=2, before=ids[2])
        expect(13, ([task.id for task in page.tasks], page.more), (ids[1::-1], None))
        page = await storage.list_tasks(TaskFilter(), limit=5, after="")
        expect(13, ([task.id for task in page.tasks], page.more, page.total), (ids[:5], ids[4], 12))
        page = await storage.list_tasks(TaskFilter(), limit=5, after=ids[6])
        expect(13, ([task.id for task in page.tasks], page.more), (ids[7:], None))
        for where in ({"before": "task_unheard"}, {"after": "task_unheard"}, {"before": ""}, {"offset": 12}):
            page = await storage.list_tasks(TaskFilter(), limit=5, **where)
            expect(13, (list(page.tasks), page.more, page.total), ([], None, 12))
        expect(13, (await storage.list_tasks(TaskFilter(), limit=0)).tasks, [])


async def _listed(storage: Storage, which: TaskFilter) -> tuple[list[str], list[str]]:
    """The ids of all pages downwards, and of all upwards."""
    found: tuple[list[str], list[str]] = [], []
    for ids, word, start in ((found[0], "before", None), (found[1], "after", "")):
        more = start
        while True:
            where: dict[str, Any] = {} if more is None else {word: more}
            page = await storage.list_tasks(which, limit=2, **where)
            expect(13, (page.total, len(page.tasks) <= 2), (None, True))
            ids += [task.id for task in page.tasks]
            if page.more is None:
                break
            more = page.more
    return found


async def a_filter_lets_through_what_it_names(factory: Factory) -> None:
    """Rule 13, of every other filter; bounds of time include their beginning and not their end."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES, SANDBOX)
        url = "http://example.com:80/other"
        a, b, c = (bench.task(created_at=NOW + at, finished_at=None) for at in (0, 1_500, 1_999))
        d = bench.task(IMAGES, created_at=NOW + 2_000, options=Options(tags=("x", "ü y")))
        e = bench.task(created_at=NOW + 2_000, webhook_url=url, options=Options(tags=("xx",)))
        f = bench.task(
            created_at=NOW + SECOND, status=Status.FAILED, finished_at=NOW + 7, error_type=ErrorType.DNS
        )
        g = bench.task(created_at=NOW + SECOND, status=Status.COMPLETED, finished_at=NOW + 9)
        h = bench.task(created_at=NOW + SECOND, error_type=ErrorType.TIMEOUT)
        there = bench.task(SANDBOX, created_at=NOW + SECOND, options=Options(tags=("x",)))
        await bench.put(a, b, c, d, e, f, g, h, there)
        cases: Sequence[tuple[TaskFilter, Sequence[Task]]] = [
            (TaskFilter(tag="x"), [d]),
            (TaskFilter(tag="ü y"), [d]),
            (TaskFilter(tag="ü"), []),
            (TaskFilter(queues=("mail",), tag="x"), []),
            (TaskFilter(queues=(), tag="x"), []),
            (TaskFilter(queues=("mail", "images", "unheard"), created_after=NOW + 2_000), [d, e, f, g, h]),
            (TaskFilter(Environment.TEST, tag="x"), [there]),
            (TaskFilter(error_type=ErrorType.DNS), [f]),
            (TaskFilter(status=Status.PENDING, error_type=ErrorType.TIMEOUT), [h]),
            (TaskFilter(status=Status.PENDING, error_type=ErrorType.DNS), []),
            (TaskFilter(destination="http://example.com"), [e]),
            (TaskFilter(destination="http://example.com:81"), []),
            (TaskFilter(created_after=NOW + 1_500, created_before=NOW + 2_000), [b, c]),
            (TaskFilter(created_after=NOW + 1_501, created_before=NOW + 2_001), [c, d, e]),
            (TaskFilter(created_before=NOW + 1_500), [a]),
            (TaskFilter(created_before=NOW), []),
            (TaskFilter(created_after=NOW + SECOND + 1), []),
            (TaskFilter(finished_after=NOW + 7), [f, g]),
            (TaskFilter(finished_after=NOW + 7, finished_before=NOW + 9), [f]),
            (TaskFilter(finished_before=NOW + 10, status=Status.COMPLETED), [g]),
            (TaskFilter(finished_before=NOW + 7), []),
        ]
        for which, tasks in cases:
            ids = [task.id for task in tasks]
            expect(13, await _listed(storage, which), (ids[::-1], ids))
            expect(13, await storage.count_tasks(which), len(ids))
            expect(13, await bench.ids(which, offset=1), ids[::-1][1:])


async def a_list_looks_at_so_many_and_says_where_to_go_on(factory: Factory) -> None:
    """Rule 13: a page that looked at `MOST_LOOKED_AT` may be short, and ``more`` goes on below."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        rare = Options(tags=("rare",))
        first = bench.task(options=rare)
        tasks = [first, *[bench.task() for _ in range(MOST_LOOKED_AT - 1)], bench.task(options=rare)]
        for start in range(0, len(tasks), 2_000):
            await bench.commit([Insert(task, b"{}") for task in tasks[start : start + 2_000]])
        which = TaskFilter(tag="rare")
        page = await storage.list_tasks(which, limit=5)
        expect(13, list(page.tasks), [tasks[-1]])
        expect(13, page.more is not None and first.id < page.more <= tasks[1].id, True)
        page = await storage.list_tasks(which, limit=5, before=page.more)
        expect(13, (list(page.tasks), page.more), ([first], None))
        page = await storage.list_tasks(which, limit=5, after="")
        expect(13, list(page.tasks), [first])
        expect(13, page.more is not None and tasks[-2].id <= page.more < tasks[-1].id, True)
        expect(13, await storage.count_tasks(which), 2)


async def failures_come_by_kind(factory: Factory) -> None:
    """Rule 20: of the queues and the environment asked for, the largest group first."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES, SANDBOX)
        expect(20, await storage.failures(LIVE, None, most=5), Failures([], 0, 0))

        async def fail(error_type: ErrorType | None, at: int, queue: QueueKey = MAIL, host: str = "a") -> str:
            task = bench.task(
                queue,
                webhook_url=f"https://{host}.example/{at}",
                status=Status.FAILED,
                finished_at=NOW + at,
                error_type=error_type,
            )
            await bench.put(task)
            return task.id

        await bench.put(bench.task(error_type=ErrorType.DNS), bench.task(status=Status.COMPLETED))
        dns = [await fail(ErrorType.DNS, at) for at in (5, 9, 2, 3)]
        tls = [await fail(ErrorType.TLS, 4)]
        other = [await fail(ErrorType.DNS, 6, host="b")]
        images = [await fail(None, at, IMAGES) for at in (1, 8)]
        there = [await fail(ErrorType.DNS, 1, SANDBOX)]
        attempts = [
            Attempt(number, AttemptStatus.ERROR, NOW, 1, 1, error=f"said {number}") for number in (9, 10)
        ]
        await bench.commit([Record(dns[-1], attempt) for attempt in attempts])

        def group(queue: str, host: str, error_type: ErrorType | None, *rest: Any) -> FailureGroup:
            return FailureGroup(queue, f"https://{host}.example", error_type, *rest)

        of_dns = group("mail", "a", ErrorType.DNS, 4, NOW + 2, NOW + 9, (*dns[:0:-1],), "said 10")
        of_images = group("images", "a", None, 2, NOW + 1, NOW + 8, (*images[::-1],), None)
        of_other = group("mail", "b", ErrorType.DNS, 1, NOW + 6, NOW + 6, (*other,), None)
        of_tls = group("mail", "a", ErrorType.TLS, 1, NOW + 4, NOW + 4, (*tls,), None)
        in_mail = [of_dns, of_other, of_tls]
        of_sandbox = group("mail", "a", ErrorType.DNS, 1, NOW + 1, NOW + 1, (*there,), None)
        cases: Sequence[tuple[Environment, tuple[str, ...] | None, int, Failures]] = [
            (LIVE, None, 8, Failures([of_dns, of_images, of_other, of_tls], 8, 8)),
            (LIVE, ("mail", "mail", "unheard"), 6, Failures(in_mail, 6, 6)),
            (LIVE, ("images",), 9, Failures([of_images], 2, 2)),
            (LIVE, (), 9, Failures([], 0, 0)),
            (LIVE, None, 2, Failures([of_images], 2, 8)),
            (LIVE, None, 4, Failures([of_images, of_other, of_tls], 4, 8)),
            (Environment.TEST, None, 8, Failures([of_sandbox], 1, 1)),
            (Environment.CALLBACK, None, 8, Failures([], 0, 0)),
        ]
        for environment, queues, most, wanted in cases:
            expect(20, await storage.failures(environment, queues, most=most), wanted)


CASES: Final[Sequence[Case]] = (
    lists_are_newest_first,
    pages_follow_each_other,
    a_filter_lets_through_what_it_names,
    a_list_looks_at_so_many_and_says_where_to_go_on,
    failures_come_by_kind,
)
