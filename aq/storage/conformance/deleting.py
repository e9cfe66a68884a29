"""Rules 5 and 9: what is deleted in bulk, and what a purge under way keeps out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aq.ids import sequence_of
from aq.lifecycle import started
from aq.outcome import Outcome
from aq.policy import QueuePolicy
from aq.storage.answers import Answer, Applied, Reason, Refused, TaskFilter
from aq.storage.changes import Delete, DropQueue, DropSchedule, Insert, Purge, PutQueue, Start, Sweep
from aq.storage.conformance.bench import (
    FAILED,
    IMAGES,
    MAIL,
    NOW,
    SANDBOX,
    Bench,
    Case,
    Factory,
    end_of,
    expect,
    finished,
)
from aq.task import Clearing, Counts, Queue, QueueKey, Status, Task

EVERYTHING: Final = (1 << 63) - 1


def _gone(*tasks: Task) -> Answer:
    return Applied(len(tasks), removed=tuple(task.id for task in tasks))


def _sequence(task: Task) -> int:
    return sequence_of(task.id) or 0


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


async def a_sweep_takes_what_finished_first(factory: Factory) -> None:
    """Rule 9, of Sweep: by the instant of the end and then by id, with all that belongs to it."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES)
        waiting, *rest = await bench.put(*[bench.task() for _ in range(7)])
        (elsewhere,) = await bench.put(bench.task(IMAGES, status=Status.COMPLETED, finished_at=NOW))
        await bench.commit(*[[Start(MAIL, task.id, 1, NOW)] for task in rest])
        a, b, c, d, e, running = rest
        outcomes = (e, FAILED, 1), (d, Outcome.success(), 2), (a, FAILED, 3), (b, Outcome.success(), 3)
        ends = [end_of(*finished(started(task, NOW), outcome, NOW + at)) for task, outcome, at in outcomes]
        late = end_of(*finished(started(c, NOW), FAILED, NOW))
        await bench.commit(*ends)
        expect(9, list(await bench.commit([Sweep(MAIL, 0)])), [Applied()])
        expect(9, list(await bench.commit([Sweep(MAIL, 9, stay=5)])), [Applied()])
        expect(9, list(await bench.commit([Sweep(MAIL, 1)])), [_gone(e)])
        expect(9, await storage.task(e.id), None)
        expect(9, list(await bench.commit(late, [Sweep(MAIL, 9, stay=2)])), [Applied(), _gone(c, d)])
        expect(9, list(await bench.commit([Sweep(SANDBOX, 5)], [Sweep(MAIL, 9)])), [Applied(), _gone(a, b)])
        expect(9, await bench.ids(TaskFilter()), [elsewhere.id, running.id, waiting.id])
        expect(9, await bench.counts(MAIL), Counts(pending=1, active=1))
        expect(19, list(await storage.audit()), [])


async def a_sweep_takes_only_what_it_names(factory: Factory) -> None:
    """Rule 9, of Sweep: these states, and what finished before that instant."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        both = Status.COMPLETED, Status.FAILED
        tasks = [bench.task(status=both[place % 2], finished_at=NOW + place) for place in range(6)]
        await bench.put(*tasks)
        answers = await bench.commit(
            [Sweep(MAIL, 9, (Status.COMPLETED,), NOW)],
            [Sweep(MAIL, 9, (Status.COMPLETED,), NOW + 4)],
            [Sweep(MAIL, 9, (Status.FAILED,), NOW + 3)],
            [Sweep(MAIL, 9, finished_before=NOW + 5)],
            [Sweep(MAIL, 9, ())],
        )
        wanted = [Applied(), _gone(tasks[0], tasks[2]), _gone(tasks[1]), _gone(tasks[3], tasks[4]), Applied()]
        expect(9, list(answers), wanted)
        expect(9, list(await bench.commit([Sweep(MAIL, 9, (Status.FAILED,), NOW + 6)])), [_gone(tasks[5])])


async def a_sweep_goes_by_the_rule_in_force(factory: Factory) -> None:
    """Rule 9, of Sweep: refused where the queue has another retention by then."""
    default = QueuePolicy()
    other = QueuePolicy(retention_max_tasks=5, timeout=9)
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        ended = [bench.task(status=Status.COMPLETED, finished_at=NOW + place) for place in range(4)]
        a, b, c, d = await bench.put(*ended)

        def sweep(key: QueueKey, policy: QueuePolicy) -> Sweep:
            return Sweep(MAIL, 1, rule=(key, policy.retention))

        await bench.refused(9, Reason.STATE, sweep(MAIL, other))
        await bench.refused(9, Reason.STATE, sweep(IMAGES, other))
        expect(
            9,
            list(await bench.commit([sweep(MAIL, default)], [sweep(IMAGES, default)])),
            [*map(_gone, (a, b))],
        )
        put = PutQueue(Queue(MAIL, other, NOW, version=2))
        answers = await bench.commit([sweep(MAIL, default)], [put], [sweep(MAIL, default)])
        expect(9, list(answers), [_gone(c), Applied(), Refused(Reason.STATE)])
        expect(9, list(await bench.commit([sweep(MAIL, other)])), [_gone(d)])


async def a_purge_takes_what_waits(factory: Factory) -> None:
    """Rule 9, of Purge: by id, through a sequence, but for what is spared."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES)
        a, b, c, d, e, f, g, h = tasks = await bench.put(*[bench.task(due_at=NOW + 9) for _ in range(8)])
        (elsewhere,) = await bench.put(bench.task(IMAGES))
        await bench.commit([Start(MAIL, b.id, 1, NOW)], [Start(MAIL, d.id, 1, NOW)])
        await bench.commit(end_of(*finished(started(d, NOW), FAILED)))
        through, spared = _sequence(g), frozenset([c.id, "task_unheard"])
        expect(9, list(await bench.commit([Purge(MAIL, 0, through)])), [Applied()])
        expect(9, list(await bench.commit([Purge(SANDBOX, 9, through)])), [Applied()])
        expect(9, list(await bench.commit([Purge(MAIL, 2, through, spared)])), [_gone(a, e)])
        expect(9, await storage.task(a.id), None)
        await bench.refused(4, Reason.MISSING, Purge(MAIL, 9, EVERYTHING), DropSchedule("unheard"))
        new = bench.task()
        answers = await bench.commit(
            [Delete(MAIL, f.id), Insert(new, b"{}"), Purge(MAIL, 1, EVERYTHING, spared)],
            [Purge(MAIL, 9, through, spared)],
        )
        expect(9, list(answers), [_gone(g), Applied()])
        expect(9, await bench.ids(TaskFilter()), [one.id for one in (new, elsewhere, h, d, c, b)])
        expect(9, list(await bench.commit([Purge(MAIL, 9, EVERYTHING)])), [_gone(c, h, new)])
        expect(9, await bench.counts(MAIL), Counts(active=1, failed=1))
        expect(
            9, [await storage.task(task.id) is not None for task in tasks], [task in (b, d) for task in tasks]
        )
        expect(19, list(await storage.audit()), [])


async def a_purge_goes_on_beyond_what_its_commit_deleted(factory: Factory) -> None:
    """Rules 9 and 1: what earlier units took does not count against the limit."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        tasks = await bench.put(*[bench.task() for _ in range(6)])
        deleted = [[Delete(MAIL, task.id)] for task in tasks[:3]]
        answers = await bench.commit(*deleted, [Purge(MAIL, 2, EVERYTHING)])
        expect(9, list(answers)[3], _gone(*tasks[3:5]))


async def a_purge_under_way_keeps_its_ids_out(factory: Factory) -> None:
    """Rule 5: an id that the queue's clearing covers is refused, as of the commit that began it."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES)
        a, b, c, d = (bench.task() for _ in range(4))
        there = bench.task(IMAGES)

        def queue(version: int, through: Task | None) -> PutQueue:
            clearing = None if through is None else Clearing(_sequence(through), (a.id,))
            return PutQueue(Queue(MAIL, QueuePolicy(), NOW, version, clearing=clearing))

        answers = await bench.commit(
            [queue(2, b), Insert(b, b"{}")],
            [Insert(a, b"{}"), Delete(MAIL, a.id)],
            [queue(2, b)],
            [Insert(a, b"{}")],
            [Insert(b, b"{}")],
            [Insert(c, b"{}")],
        )
        state = Refused(Reason.STATE)
        expect(5, list(answers), [state, Applied(), Applied(), state, state, Applied()])
        await bench.refused(5, Reason.STATE, Insert(a, b"{}"))
        await bench.refused(5, Reason.STATE, Insert(b, b"{}"))
        await bench.refused(5, Reason.EXISTS, Insert(c, b"{}"))
        await bench.put(d, there)
        answers = await bench.commit([queue(3, None), Insert(b, b"{}")], [queue(4, d)], [Insert(a, b"{}")])
        expect(8, list(answers), [Applied(), Applied(count=3), state])


CASES: Final[Sequence[Case]] = (
    only_an_empty_queue_is_dropped,
    a_sweep_takes_what_finished_first,
    a_sweep_takes_only_what_it_names,
    a_sweep_goes_by_the_rule_in_force,
    a_purge_takes_what_waits,
    a_purge_goes_on_beyond_what_its_commit_deleted,
    a_purge_under_way_keeps_its_ids_out,
)
