"""Rule 16: of the tasks with one ordering key one at a time, in the order of their ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from aq.lifecycle import ended, expired, revived, started
from aq.outcome import Outcome
from aq.policy import QueuePolicy
from aq.storage.answers import Answer, Applied, Reason, Refused
from aq.storage.changes import Change, Delete, Insert, Purge, Record, Start, Update
from aq.storage.conformance.bench import (
    FAILED,
    IMAGES,
    MAIL,
    NOW,
    Bench,
    Case,
    Factory,
    end_of,
    entry,
    expect,
    finished,
)
from aq.task import Status, Task


def _start(task: Task) -> Sequence[Change]:
    return [Start(task.queue, task.id, task.version, NOW)]


def _done(task: Task) -> Sequence[Change]:
    return end_of(*finished(started(task, NOW), Outcome.success()))


def _released(*tasks: Task) -> Answer:
    return Applied(released=tuple(entry(task) for task in tasks))


def _begun(task: Task) -> Answer:
    return Applied(started=((started(task, NOW), b"{}"),))


def _retried(task: Task) -> Task:
    """As it waits again after a first attempt that failed."""
    return ended(started(task, NOW), FAILED, QueuePolicy(), now=NOW, chance=0)[0]


async def _schedulable(bench: Bench, wanted: Sequence[Task]) -> None:
    """A window has just these, and the audit finds nothing."""
    window = await bench.storage.window(MAIL, NOW + 10**9, 100)
    expect(16, [one.id for one in window.due], [task.id for task in wanted])
    expect(19, list(await bench.storage.audit()), [])


async def one_of_a_key_runs_at_a_time(factory: Factory) -> None:
    """Rule 16, of tasks that come, run and succeed."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL, IMAGES)
        a, b, c = (bench.task(ordering_key="k") for _ in range(3))
        other, none = bench.task(ordering_key="l"), bench.task()
        elsewhere = bench.task(IMAGES, ordering_key="k")
        units = [[Insert(task, b"{}")] for task in (a, b, c, other, none, elsewhere)]
        wanted = [_released(a), Applied(), Applied(), _released(other), Applied(), _released(elsewhere)]
        expect(16, list(await bench.commit(*units)), wanted)
        await bench.refused(16, Reason.STATE, *_start(b))
        await bench.refused(6, Reason.VERSION, Start(MAIL, b.id, 2, NOW))
        await _schedulable(bench, [a, other, none])
        answers = await bench.commit(_start(a), _start(other), _start(none))
        expect(16, list(answers), [_begun(a), _begun(other), _begun(none)])
        await bench.refused(16, Reason.STATE, *_start(b))
        await _schedulable(bench, [])
        expect(16, list(await bench.commit(_done(a))), [_released(b)])
        await _schedulable(bench, [b])
        expect(
            16, list(await bench.commit(_start(b), _done(b), _start(c))), [_begun(b), _released(c), _begun(c)]
        )
        for key, name, wanted_id in ((MAIL, "k", c.id), (IMAGES, "k", elsewhere.id), (MAIL, "m", None)):
            expect(16, await storage.head_of(key, name), wanted_id)


async def a_retry_keeps_its_place(factory: Factory) -> None:
    """Rule 16: what waits again waits as the head, and is told of again."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        a, b = await bench.put(bench.task(ordering_key="k"), bench.task(ordering_key="k"))
        await bench.commit(_start(a))
        again = _retried(a)
        expect(16, list(await bench.commit([Update(again, Status.ACTIVE)])), [_released(again)])
        await bench.refused(16, Reason.STATE, *_start(b))
        await _schedulable(bench, [again])
        later = replace(again, due_at=NOW + 7, version=again.version + 1)
        expect(16, list(await bench.commit([Update(later, Status.PENDING)])), [_released(later)])
        moved = replace(b, due_at=NOW + 8, version=2)
        expect(16, list(await bench.commit([Update(moved, Status.PENDING)])), [Applied()])
        _, attempt = finished(started(a, NOW), FAILED)
        expect(16, list(await bench.commit([Record(later.id, attempt)])), [Applied()])
        failed = finished(started(later, NOW), FAILED)
        expect(16, list(await bench.commit(_start(later), end_of(*failed)))[1], _released(moved))


async def a_head_that_goes_lets_the_next_one_go(factory: Factory) -> None:
    """Rule 16, of Delete, Purge and expiry."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        a, b, c, d, e, f, g = await bench.put(*[bench.task(ordering_key="k") for _ in range(7)])
        expect(
            16,
            list(await bench.commit([Delete(MAIL, b.id)], [Delete(MAIL, a.id)])),
            [Applied(), _released(c)],
        )
        held, head = expired(d, now=NOW), expired(c, now=NOW)
        expect(16, list(await bench.commit([Update(held, Status.PENDING)])), [Applied()])
        await _schedulable(bench, [c])
        expect(16, list(await bench.commit([Update(head, Status.PENDING)])), [_released(e)])
        answers = await bench.commit([Purge(MAIL, 2, through=10**18)])
        expect(16, list(answers), [Applied(2, removed=(e.id, f.id), released=(entry(g),))])
        await _schedulable(bench, [g])
        expect(16, list(await bench.commit([Delete(MAIL, g.id)])), [Applied()])
        expect(16, await storage.head_of(MAIL, "k"), None)


async def an_earlier_one_that_comes_back_goes_first(factory: Factory) -> None:
    """Rule 16: the lowest id is the head, also when it was over once; what runs is left to run."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        a, b, c = await bench.put(*[bench.task(ordering_key="k") for _ in range(3)])
        await bench.commit(_start(a))
        end, attempt = finished(started(a, NOW), FAILED)
        expect(16, list(await bench.commit(end_of(end, attempt))), [_released(b)])
        back = revived(end, now=NOW)
        expect(16, list(await bench.commit([Update(back, Status.FAILED)])), [_released(back)])
        await bench.refused(16, Reason.STATE, *_start(b))
        await _schedulable(bench, [back])
        gone = expired(back, now=NOW)
        expect(
            16, list(await bench.commit([Update(gone, Status.PENDING)], _start(b))), [_released(b), _begun(b)]
        )
        back = revived(gone, now=NOW)
        expect(16, list(await bench.commit([Update(back, Status.FAILED)])), [Applied()])
        await bench.refused(16, Reason.STATE, *_start(back))
        await _schedulable(bench, [])
        expect(16, await storage.head_of(MAIL, "k"), b.id)
        again = _retried(b)
        expect(16, list(await bench.commit([Update(again, Status.ACTIVE)])), [_released(back)])
        await _schedulable(bench, [back])
        expect(16, list(await bench.commit([Delete(MAIL, back.id)])), [_released(again)])
        await bench.refused(16, Reason.STATE, *_start(c))


async def a_unit_is_judged_by_how_it_finds_things(factory: Factory) -> None:
    """Rule 16 with rule 1: within one commit, and within one unit."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        a, b, c, d = (bench.task(ordering_key="k") for _ in range(4))
        await bench.put(a)
        answers = await bench.commit(
            [Insert(b, b"{}"), Insert(c, b"{}")],
            _start(b),
            [*_start(a), *_done(a), *_start(b)],
            [Insert(d, b"{}"), Delete(MAIL, c.id)],
            [Update(_retried(b), Status.ACTIVE)],
            [Delete(MAIL, b.id), Delete(MAIL, d.id)],
        )
        wanted = [
            Applied(),
            Refused(Reason.STATE),
            Applied(started=((started(a, NOW), b"{}"), (started(b, NOW), b"{}"))),
            Applied(),
            _released(_retried(b)),
            Applied(),
        ]
        expect(16, list(answers), wanted)
        running = bench.task(ordering_key="k", status=Status.ACTIVE, started_at=NOW)
        late = bench.task(ordering_key="k")
        early = await bench.put(bench.task(ordering_key="l"), bench.task(ordering_key="l"))
        expect(
            16,
            list(await bench.commit([Insert(running, b"{}")], [Insert(late, b"{}")])),
            [Applied(), Applied()],
        )
        await bench.refused(16, Reason.STATE, *_start(late))
        await _schedulable(bench, early[:1])


async def an_earlier_one_goes_before_a_retry(factory: Factory) -> None:
    """Rule 16: of one that came back meanwhile and one that waits again, the earlier is the head."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        a, b = await bench.put(bench.task(ordering_key="k"), bench.task(ordering_key="k"))
        gone = expired(a, now=NOW)
        await bench.commit([Update(gone, Status.PENDING)])
        back, again = revived(gone, now=NOW), _retried(b)
        answers = await bench.commit(
            _start(b),
            [Update(back, Status.FAILED)],
            [Update(again, Status.ACTIVE)],
            _start(back),
        )
        expect(16, list(answers), [_begun(b), Applied(), _released(back), _begun(back)])


async def a_refused_unit_holds_nobody_back(factory: Factory) -> None:
    """Rules 16 and 4: neither marks nor places are left of it."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        a, b, c, new = (bench.task(ordering_key="k") for _ in range(4))
        absent = Delete(MAIL, new.id)
        await bench.put(a)
        answers = await bench.commit(
            [Insert(b, b"{}")],
            [Delete(MAIL, a.id), Delete(MAIL, b.id), Insert(c, b"{}"), *_start(c), absent],
            [*_start(a), *_done(a), *_start(b), *_done(b), absent],
            _start(b),
            [Delete(MAIL, a.id)],
            [Delete(MAIL, b.id), Insert(c, b"{}"), absent],
            [Insert(c, b"{}")],
            [*_start(b), absent],
            _start(c),
        )
        missing, state = Refused(Reason.MISSING), Refused(Reason.STATE)
        wanted = [Applied(), missing, missing, state, _released(b), missing, Applied(), missing, state]
        expect(16, list(answers), wanted)
        await _schedulable(bench, [b])


async def an_id_that_comes_back_is_another_task(factory: Factory) -> None:
    """Rule 16, of an id that is deleted and inserted anew, with another ordering key or none."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        a, b, c = await bench.put(*[bench.task(ordering_key="k") for _ in range(3)])
        free, moved = replace(b, ordering_key=None), replace(a, ordering_key="l")
        answers = await bench.commit(
            [Update(replace(b, version=2, due_at=NOW), Status.PENDING)],
            [Delete(MAIL, b.id), Insert(free, b"{}")],
            [Delete(MAIL, a.id), Insert(moved, b"{}")],
            [*_start(moved), *_done(moved)],
            _start(c),
        )
        wanted = [
            Applied(),
            Applied(),
            Applied(released=(entry(moved), entry(c))),
            Applied(started=((started(moved, NOW), b"{}"),)),
            _begun(c),
        ]
        expect(16, list(answers), wanted)
        await _schedulable(bench, [free])


CASES: Final[Sequence[Case]] = (
    one_of_a_key_runs_at_a_time,
    a_retry_keeps_its_place,
    a_head_that_goes_lets_the_next_one_go,
    an_earlier_one_that_comes_back_goes_first,
    a_unit_is_judged_by_how_it_finds_things,
    an_earlier_one_goes_before_a_retry,
    a_refused_unit_holds_nobody_back,
    an_id_that_comes_back_is_another_task,
)
