"""Rules 1 and 3-10: commits, but for what deletes in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio
from attrs import evolve
from msgspec.structs import replace

from aq.ids import sequence_of
from aq.lifecycle import started
from aq.outcome import Outcome
from aq.policy import Backoff, QueuePolicy
from aq.storage.answers import Answer, Applied, Reason, Refused, StoredTask
from aq.storage.changes import Delete, DropQueue, Insert, PutQueue, PutSetting, Record, Start, Sweep, Update
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
    finished,
)
from aq.task import Clearing, Counts, Environment, Queue, QueueKey, Revival, Status


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
        await bench.refused(6, Reason.MISSING, Update(replace(absent, version=2), Status.PENDING))
        await bench.refused(6, Reason.MISSING, Update(replace(task, queue=IMAGES, version=2), Status.PENDING))
        await bench.refused(6, Reason.VERSION, Start(MAIL, task.id, 2, NOW))
        await bench.refused(6, Reason.STATE, Update(end, Status.ACTIVE))
        await bench.refused(6, Reason.VERSION, Update(replace(task, version=3), Status.PENDING))
        await bench.commit([Start(MAIL, task.id, 1, NOW)])
        await bench.refused(6, Reason.STATE, Start(MAIL, task.id, 2, NOW))
        await bench.refused(6, Reason.STATE, Delete(MAIL, task.id))
        await bench.refused(6, Reason.VERSION, Update(replace(end, version=9), Status.ACTIVE))
        expect(6, await bench.commit([Update(end, Status.ACTIVE), Record(task.id, attempt)]), [Applied()])
        expect(6, await bench.stored(task), StoredTask(end, b"{}", [attempt]))


async def attempts_are_kept_by_number(factory: Factory) -> None:
    """Rule 6, of records."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        (task,) = await bench.put(bench.task())
        _, attempt = finished(started(task, NOW), FAILED)
        first, second, third = (replace(attempt, number=number) for number in (1, 2, 3))
        other = replace(second, error="another", timing=None, response_body=None)
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
        third = evolve(second, version=3, clearing=Clearing(7, ("a", "b")), revival=Revival(failed_by=NOW))
        expect(8, await bench.commit([PutQueue(third)]), [Applied(count=1)])
        expect(8, await storage.queue(MAIL), evolve(third, counts=Counts(pending=1)))
        expect(8, await bench.commit([PutQueue(evolve(second, version=4))]), [Applied()])
        expect(8, await storage.queue(MAIL), evolve(second, version=4, counts=Counts(pending=1)))


async def queues_are_listed_by_name(factory: Factory) -> None:
    """The reads `queue` and `queues`."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(SANDBOX, MAIL, IMAGES)
        expect(11, [queue.key for queue in await storage.queues()], [IMAGES, MAIL, SANDBOX])
        expect(11, [queue.key for queue in await storage.queues(Environment.LIVE)], [IMAGES, MAIL])
        expect(11, await storage.queue(QueueKey(Environment.TEST, "images")), None)


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
    a_start_answers_the_task_and_its_payload,
    a_deleted_task_leaves_nothing,
)
