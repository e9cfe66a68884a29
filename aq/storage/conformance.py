"""The promises of `aq.storage.protocol` as checks, one per promise, for any storage.

For each of `CASES` make a fresh store and ``await case(factory)``; for a durable storage also each of
`DURABLE_CASES`. A *factory* opens that one store: called again after the first opening was closed, it opens
the same store again. A check raises AssertionError, also under ``python -O``, quoting the rule's number.
No test framework is needed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Any, Final, TypeAlias, TypeVar

import trio
from attrs import evolve

from aq.errors import StorageError
from aq.ids import IdMinter, sequence_of
from aq.instants import Instant
from aq.lifecycle import ended, started
from aq.outcome import AttemptStatus, ErrorType, Outcome, Timing
from aq.policy import Backoff, QueuePolicy
from aq.storage.protocol import (
    Answer,
    Applied,
    Change,
    Delete,
    DropQueue,
    Entry,
    Insert,
    PutQueue,
    PutSetting,
    Reason,
    Record,
    Refused,
    Start,
    Storage,
    StoredTask,
    Sweep,
    TaskFilter,
    Update,
)
from aq.task import Attempt, Counts, Environment, Queue, QueueKey, Status, Task

Factory: TypeAlias = Callable[[], AbstractAsyncContextManager[Storage]]
Case: TypeAlias = Callable[[Factory], Awaitable[None]]
T = TypeVar("T")

NOW: Final = 1_800_000_000_000_000
MAIL: Final = QueueKey(Environment.LIVE, "mail")
IMAGES: Final = QueueKey(Environment.LIVE, "images")
SANDBOX: Final = QueueKey(Environment.TEST, "mail")


def expect(rule: int, found: T, wanted: T) -> None:
    """Raises AssertionError unless the two are equal."""
    if found != wanted:
        raise AssertionError(f"rule {rule}: expected {wanted!r}, got {found!r}")


class Bench:
    """A storage with a minter, and short words for what the checks do often."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._minter = IdMinter(Random(7).getrandbits)  # noqa: S311

    def task(self, queue: QueueKey = MAIL, **fields: Any) -> Task:
        """A new task, due at NOW where nothing else is said."""
        return Task(
            **{
                "id": self._minter.mint(NOW),
                "queue": queue,
                "webhook_url": "https://example.com/hooks?x=1",
                "priority": 5,
                "delay": 0,
                "created_at": NOW,
                "due_at": NOW,
                **fields,
            }
        )

    async def commit(self, *units: Sequence[Change], now: Instant = NOW) -> Sequence[Answer]:
        return await self.storage.commit(units, now)

    async def make(self, *keys: QueueKey) -> None:
        units = [[PutQueue(Queue(key, QueuePolicy(), NOW))] for key in keys]
        expect(8, list(await self.commit(*units)), [Applied() for _ in keys])

    async def put(self, *tasks: Task, payload: bytes = b"{}") -> list[Task]:
        answers = await self.commit(*[[Insert(task, payload)] for task in tasks])
        expect(5, list(answers), [Applied() for _ in tasks])
        return list(tasks)

    async def refused(self, rule: int, reason: Reason, *unit: Change) -> None:
        """The unit is refused for this reason, between two that are applied."""
        answers = await self.commit([], unit, [])
        expect(rule, list(answers), [Applied(), Refused(reason), Applied()])

    async def stored(self, task: Task) -> StoredTask:
        found = await self.storage.task(task.id)
        if found is None:
            raise AssertionError(f"{task.id} is not stored")
        return found

    async def counts(self, key: QueueKey) -> Counts:
        queue = await self.storage.queue(key)
        return Counts() if queue is None else queue.counts

    async def ids(self, which: TaskFilter, limit: int = 100, **where: Any) -> list[str]:
        return [task.id for task in (await self.storage.list_tasks(which, limit=limit, **where)).tasks]


def finished(task: Task, outcome: Outcome, at: Instant = NOW) -> tuple[Task, Attempt]:
    """An active task's end without retries."""
    return ended(task, outcome, QueuePolicy(max_retries=0), now=at, chance=0)


def _end(task: Task, attempt: Attempt) -> Sequence[Change]:
    return [Update(task, Status.ACTIVE), Record(task.id, attempt)]


FAILED: Final = Outcome(
    status=AttemptStatus.FAILURE,
    error_type=ErrorType.HTTP_5XX,
    error="answered 503 \u2014 “busy”\x00",
    response_code=503,
    response_body=b"\x00\xff busy",
    timing=Timing(dns=1, tls=3, total=9),
)


# -- writing ------------------------------------------------------------------------------------------------
async def units_apply_in_order_each_for_itself(factory: Factory) -> None:
    """Rule 1."""
    async with factory() as storage:
        bench = Bench(storage)
        task = bench.task()
        active = started(task, NOW)
        answers = await bench.commit(
            [Insert(task, b"{}")],
            [PutQueue(Queue(MAIL, QueuePolicy(), NOW)), Insert(task, b"{}")],
            [Insert(task, b"{}")],
            [Start(MAIL, task.id, 1, NOW)],
            [Delete(MAIL, task.id)],
            [Update(finished(active, Outcome.success())[0], Status.ACTIVE)],
        )
        wanted: list[Answer] = [
            Refused(Reason.MISSING),
            Applied(),
            Refused(Reason.EXISTS),
            Applied(started=((active, b"{}"),)),
            Refused(Reason.STATE),
            Applied(),
        ]
        expect(1, list(answers), wanted)
        expect(1, await bench.commit(), [])
        expect(1, (await bench.stored(task)).task.status, Status.COMPLETED)


async def what_is_committed_outlives_the_opening(factory: Factory) -> None:
    """Rule 2, as far as it can be seen without a power cut."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        waiting, running = await bench.put(bench.task(), bench.task())
        await bench.commit([Start(MAIL, running.id, 1, NOW + 5)], [PutSetting("secret", "s")], now=NOW + 5)
        before = await storage.queues(), await bench.stored(waiting), await bench.stored(running)
    async with factory() as storage:
        bench = Bench(storage)
        after = await storage.queues(), await bench.stored(waiting), await bench.stored(running)
        expect(2, after, before)
        expect(2, await storage.settings(), {"secret": "s"})
        floor = await storage.floor()
        expect(14, (floor.now, floor.sequence), (NOW + 5, sequence_of(running.id)))
        await bench.refused(5, Reason.EXISTS, Insert(running, b"{}"))
        await bench.refused(8, Reason.EXISTS, PutQueue(Queue(MAIL, QueuePolicy(), NOW)))


async def a_commit_begun_is_not_cancelled(factory: Factory) -> None:
    """Its caller hears the answer or Cancelled; with Cancelled, nothing has happened."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        task = bench.task()
        answers: Sequence[Answer] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            answers = await bench.commit([Insert(task, b"{}")])
        expect(2, await storage.task(task.id) is not None, bool(answers))


async def a_refused_unit_changes_nothing(factory: Factory) -> None:
    """Rule 4."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        waiting, running, done = await bench.put(bench.task(), bench.task(), bench.task())
        await bench.commit(*[[Start(MAIL, task.id, 1, NOW)] for task in (running, done)])
        end, attempt = finished(started(done, NOW), Outcome.success())
        await bench.commit([Update(end, Status.ACTIVE), Record(done.id, attempt)])
        before = await storage.queues(), [await bench.stored(task) for task in (waiting, running, done)]
        late = bench.task()
        await bench.refused(
            4,
            Reason.STATE,
            PutQueue(Queue(IMAGES, QueuePolicy(), NOW)),
            PutQueue(Queue(MAIL, QueuePolicy(paused=True), NOW, version=2)),
            PutSetting("name", "value"),
            Insert(late, b"{}"),
            Start(MAIL, late.id, 1, NOW),
            Delete(MAIL, waiting.id),
            Record(running.id, attempt),
            Update(finished(started(running, NOW), Outcome.success())[0], Status.ACTIVE),
            Sweep(MAIL, 10),
            DropQueue(MAIL),
        )
        after = await storage.queues(), [await bench.stored(task) for task in (waiting, running, done)]
        expect(4, after, before)
        expect(4, await storage.settings(), {})
        expect(4, await storage.task(late.id), None)
        expect(4, (await storage.floor()).sequence, sequence_of(done.id))


async def insert_wants_a_new_id_and_a_queue(factory: Factory) -> None:
    """Rule 5."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        (task,) = await bench.put(
            bench.task(traceparent="00-ab-cd-01", max_retries=0), payload=b'{"a": "\xc3\xa4"}'
        )
        expect(5, await bench.stored(task), StoredTask(task, b'{"a": "\xc3\xa4"}', []))
        await bench.refused(5, Reason.EXISTS, Insert(task, b"{}"))
        await bench.refused(5, Reason.MISSING, Insert(bench.task(IMAGES), b"{}"))
        await bench.refused(5, Reason.MISSING, Insert(bench.task(SANDBOX), b"{}"))
        twins = bench.task(), bench.task()
        await bench.refused(5, Reason.EXISTS, *[Insert(one, b"{}") for one in (*twins, twins[0])])
        expect(5, await storage.task(task.id[:-1] + "Z"), None)
        expect(5, await storage.task("task_unheard"), None)


async def changes_of_a_task_compare_and_set(factory: Factory) -> None:
    """Rule 6."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES)
        task, absent = (*await bench.put(bench.task()), bench.task())
        active = started(task, NOW)
        end, attempt = finished(active, FAILED)
        await bench.refused(6, Reason.MISSING, Start(MAIL, absent.id, 1, NOW))
        await bench.refused(6, Reason.MISSING, Start(IMAGES, task.id, 1, NOW))
        await bench.refused(6, Reason.MISSING, Delete(MAIL, absent.id))
        await bench.refused(6, Reason.MISSING, Delete(SANDBOX, task.id))
        await bench.refused(6, Reason.MISSING, Record(absent.id, attempt))
        await bench.refused(6, Reason.MISSING, Update(evolve(absent, version=2), Status.PENDING))
        await bench.refused(6, Reason.MISSING, Update(evolve(task, queue=IMAGES, version=2), Status.PENDING))
        await bench.refused(6, Reason.VERSION, Start(MAIL, task.id, 2, NOW))
        await bench.refused(6, Reason.STATE, Update(end, Status.ACTIVE))
        await bench.refused(6, Reason.VERSION, Update(evolve(task, version=3), Status.PENDING))
        await bench.commit([Start(MAIL, task.id, 1, NOW)])
        await bench.refused(6, Reason.STATE, Start(MAIL, task.id, 2, NOW))
        await bench.refused(6, Reason.STATE, Delete(MAIL, task.id))
        await bench.refused(6, Reason.VERSION, Update(evolve(end, version=9), Status.ACTIVE))
        expect(6, await bench.commit([Update(end, Status.ACTIVE), Record(task.id, attempt)]), [Applied()])
        expect(6, await bench.stored(task), StoredTask(end, b"{}", [attempt]))


async def attempts_are_kept_by_number(factory: Factory) -> None:
    """Rule 6, of records."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        (task,) = await bench.put(bench.task())
        _, attempt = finished(started(task, NOW), FAILED)
        first, second, third = (evolve(attempt, number=number) for number in (1, 2, 3))
        other = evolve(second, error="another", timing=None, response_body=None)
        await bench.commit([Record(task.id, third)], [Record(task.id, second)], [Record(task.id, other)])
        await bench.commit([Record(task.id, first)])
        expect(6, list((await bench.stored(task)).attempts), [first, other, third])


async def counts_follow_every_change(factory: Factory) -> None:
    """Rule 7."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES, SANDBOX)
        a, b, c, _ = await bench.put(*[bench.task() for _ in range(4)])
        await bench.put(bench.task(SANDBOX))
        expect(7, await bench.counts(MAIL), Counts(pending=4))
        expect(7, await bench.counts(SANDBOX), Counts(pending=1))
        await bench.commit(*[[Start(MAIL, task.id, 1, NOW)] for task in (a, b, c)])
        expect(7, await bench.counts(MAIL), Counts(pending=1, active=3))
        await bench.commit(
            [Update(finished(started(a, NOW), Outcome.success())[0], Status.ACTIVE)],
            [Update(finished(started(b, NOW), FAILED)[0], Status.ACTIVE)],
            [Delete(MAIL, c.id)],
        )
        expect(7, await bench.counts(MAIL), Counts(pending=1, active=1, completed=1, failed=1))
        await bench.commit([Sweep(MAIL, 1)])
        expect(7, await bench.counts(MAIL), Counts(pending=1, active=1, failed=1))
        expect(7, await bench.counts(IMAGES), Counts())


async def queues_are_put_by_version(factory: Factory) -> None:
    """Rule 8."""
    async with factory() as storage:
        bench = Bench(storage)
        policy = QueuePolicy(retry_backoff=Backoff.LINEAR, retry_delay=0.25, concurrency=7, paused=True)
        first = Queue(MAIL, QueuePolicy(), NOW)
        await bench.refused(8, Reason.MISSING, PutQueue(evolve(first, version=2)))
        await bench.make(MAIL)
        await bench.put(bench.task())
        await bench.refused(8, Reason.EXISTS, PutQueue(first))
        await bench.refused(8, Reason.VERSION, PutQueue(evolve(first, version=3)))
        second = Queue(MAIL, policy, NOW, version=2)
        expect(8, await bench.commit([PutQueue(second)]), [Applied()])
        await bench.refused(8, Reason.VERSION, PutQueue(second))
        expect(8, await storage.queue(MAIL), evolve(second, counts=Counts(pending=1)))


async def queues_are_listed_by_name(factory: Factory) -> None:
    """The reads `queue` and `queues`."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(SANDBOX, MAIL, IMAGES)
        expect(11, [queue.key for queue in await storage.queues()], [IMAGES, MAIL, SANDBOX])
        expect(11, [queue.key for queue in await storage.queues(Environment.LIVE)], [IMAGES, MAIL])
        expect(11, await storage.queue(QueueKey(Environment.TEST, "images")), None)


async def only_an_empty_queue_is_dropped(factory: Factory) -> None:
    """Rule 9, of DropQueue."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.refused(9, Reason.MISSING, DropQueue(MAIL))
        await bench.make(MAIL, IMAGES)
        (task,) = await bench.put(bench.task())
        await bench.refused(9, Reason.STATE, DropQueue(MAIL))
        await bench.refused(9, Reason.STATE, Insert(bench.task(IMAGES), b"{}"), DropQueue(IMAGES))
        expect(9, await bench.commit([Delete(MAIL, task.id), DropQueue(MAIL)]), [Applied()])
        expect(9, await storage.queue(MAIL), None)
        await bench.refused(5, Reason.MISSING, Insert(bench.task(), b"{}"))
        await bench.make(MAIL)
        put = Queue(MAIL, QueuePolicy(timeout=5), NOW + 1)
        expect(9, await bench.commit([DropQueue(MAIL), PutQueue(put)]), [Applied()])
        expect(9, await storage.queue(MAIL), put)


async def a_sweep_takes_the_oldest_finished(factory: Factory) -> None:
    """Rule 9, of Sweep."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES)
        waiting, *rest = await bench.put(*[bench.task() for _ in range(6)])
        (elsewhere,) = await bench.put(bench.task(IMAGES, status=Status.COMPLETED))
        await bench.commit(*[[Start(MAIL, task.id, 1, NOW)] for task in rest])
        ends = [
            finished(started(task, NOW), FAILED if place % 2 else Outcome.success())
            for place, task in enumerate(rest)
        ]
        *early, late = [_end(task, attempt) for task, attempt in ends]
        await bench.commit(*early)
        expect(9, await bench.commit([Sweep(MAIL, 2)]), [Applied(count=2)])
        expect(9, [await storage.task(task.id) for task in rest[:2]], [None, None])
        expect(9, list(await bench.commit(late, [Sweep(MAIL, 2)])), [Applied(), Applied(count=2)])
        expect(9, await bench.ids(TaskFilter(queue="mail")), [rest[4].id, waiting.id])
        expect(9, await bench.commit([Sweep(MAIL, 9)]), [Applied(count=1)])
        expect(9, await bench.ids(TaskFilter()), [elsewhere.id, waiting.id])
        expect(9, await bench.commit([Sweep(SANDBOX, 5)]), [Applied(count=0)])


async def a_start_answers_the_task_and_its_payload(factory: Factory) -> None:
    """Rule 10, of Start."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        big = b'{"x": "' + b"y" * 200_000 + b'"}'
        (stored,) = await bench.put(bench.task(), payload=big)
        fresh = bench.task()
        answers = await bench.commit(
            [Start(MAIL, stored.id, 1, NOW + 1), Insert(fresh, b"{ }"), Start(MAIL, fresh.id, 1, NOW + 2)]
        )
        wanted = (started(stored, NOW + 1), big), (started(fresh, NOW + 2), b"{ }")
        expect(10, list(answers), [Applied(started=wanted)])
        expect(10, await bench.stored(stored), StoredTask(wanted[0][0], big, []))


async def a_deleted_task_leaves_nothing(factory: Factory) -> None:
    """Rule 10, of Delete."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        (task,) = await bench.put(bench.task(), payload=b"{1}")
        _, attempt = finished(started(task, NOW), FAILED)
        await bench.commit([Record(task.id, attempt)])
        expect(10, await bench.commit([Delete(MAIL, task.id)]), [Applied()])
        expect(10, await storage.task(task.id), None)
        await bench.refused(6, Reason.MISSING, Delete(MAIL, task.id))
        await bench.put(task, payload=b"{2}")
        expect(10, await bench.stored(task), StoredTask(task, b"{2}", []))
        await bench.commit([Record(task.id, attempt)])
        await bench.commit([Delete(MAIL, task.id)], [Insert(task, b"{3}")])
        expect(10, await bench.stored(task), StoredTask(task, b"{3}", []))


# -- reading ------------------------------------------------------------------------------------------------
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
    units_apply_in_order_each_for_itself,
    a_commit_begun_is_not_cancelled,
    a_refused_unit_changes_nothing,
    insert_wants_a_new_id_and_a_queue,
    changes_of_a_task_compare_and_set,
    attempts_are_kept_by_number,
    counts_follow_every_change,
    queues_are_put_by_version,
    queues_are_listed_by_name,
    only_an_empty_queue_is_dropped,
    a_sweep_takes_the_oldest_finished,
    a_start_answers_the_task_and_its_payload,
    a_deleted_task_leaves_nothing,
    reads_beside_commits_see_one_moment,
    a_window_is_in_running_order,
    lists_are_newest_first,
    the_floor_only_rises,
    active_gives_the_interrupted,
    settings_are_what_was_put_last,
    a_sound_store_has_no_damage,
    a_closed_storage_says_so,
)
DURABLE_CASES: Final[Sequence[Case]] = (what_is_committed_outlives_the_opening,)
