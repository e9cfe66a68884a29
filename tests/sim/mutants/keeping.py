"""Slips in what is kept and what callers are told of it: commits, claims, counts, retention, schedules."""

from __future__ import annotations

from copy import copy
from types import SimpleNamespace
from typing import Any, Final

from attrs import evolve
from msgspec.structs import replace

from aq.errors import ConflictError, StorageFullError, StorageUnavailableError
from aq.ids import first_sequence_at
from aq.instants import from_seconds
from aq.storage.answers import Applied
from aq.storage.before import RANK
from aq.storage.changes import Claim, Forget, Insert, Purge, Sweep
from aq.task import Status
from tests.sim.mutants.mutant import Mutant, none_at_all, zero


# -- commits ------------------------------------------------------------------------------------------------
def before_the_commit(write: Any) -> Any:
    async def early(self: Any, what: Any) -> None:
        if any(isinstance(change, Insert) for change in what.unit):
            what.settle(Applied())
            what = replace(what, settle=lambda answer: None)
        await write(self, what)

    return early


def _once(commit: Any, settled: Any) -> Any:
    """A committer that asks the storage once, and settles by ``settled(error)`` where that fails."""

    async def once(self: Any, batch: Any) -> Any:
        if self.full:
            return await commit(self, batch)
        try:
            answers = await self._storage.commit([write.unit for write in batch], self._clock.now())
        except StorageFullError:
            return await commit(self, batch)
        except StorageUnavailableError as error:
            answers = [settled(error)] * len(batch)
        for write, answer in zip(batch, answers, strict=True):
            write.settle(answer)
        return []

    return once


def an_error_is_a_success(commit: Any) -> Any:
    return _once(commit, lambda error: Applied())


def an_error_is_a_failure(commit: Any) -> Any:
    return _once(commit, lambda error: error)


def as_another_one(commit: Any) -> Any:
    async def again(self: Any, batch: Any) -> Any:
        storage, committed = self._storage, self._storage.commit

        async def anew(units: Any, now: int) -> Any:
            return await committed([list(unit) for unit in units], now)

        storage.commit = anew
        try:
            return await commit(self, batch)
        finally:
            del storage.commit

    return again


def one_by_one(insert: Any) -> Any:
    async def torn(self: Any, environment: Any, news: Any, **how: Any) -> Any:
        return [task for new in news for task in await insert(self, environment, [new], **how)]

    return torn


def all_but_the_first(undo: Any) -> Any:
    def half(self: Any) -> None:
        self._log = self._log[1:]
        undo(self)

    return half


def without_deletions(moved: Any) -> Any:
    def drifting(self: Any) -> Any:
        moves = moved(self)
        for sequence, task in self.tasks.items():
            was = self._before.head(sequence)
            if task is None and was is not None:
                moves.setdefault(was.queue, [0, 0, 0, 0])[RANK[was.status]] += 1
        return moves

    return drifting


def started_and_pending(moved: Any) -> Any:
    def drifting(self: Any) -> Any:
        moves = moved(self)
        for _, task, _ in self.inserted():
            if task.status is Status.ACTIVE:
                moves[task.queue][RANK[Status.PENDING]] += 1
        return moves

    return drifting


def from_nothing(mint: Any) -> Any:
    return lambda self, random_bits, floor=0: mint(self, random_bits)


# -- time ---------------------------------------------------------------------------------------------------
def by_the_wall(now: Any) -> Any:
    return lambda self: max(now(self), from_seconds(self._wall()))


def from_the_wall(begin: Any) -> Any:
    return lambda self, *, wall, floor=0: begin(self, wall=wall)


# -- deletion, retention ------------------------------------------------------------------------------------
def answered_and_not_done(remove: Any) -> Any:
    return lambda self, message: message.reply.set(None)


def though_it_runs(remove: Any) -> Any:
    def removed(self: Any, message: Any) -> None:
        if message.task_id in self._desk.agenda.running:
            message.reply.set(None)
        else:
            remove(self, message)

    return removed


def answered_before_its_mark(change: Any) -> Any:
    def early(self: Any, *, first: Any = None, **how: Any) -> None:
        if first is not None and how.get("clearing") is not None and self.queue is not None:
            first(Applied())
            first = None
        change(self, first=first, **how)

    return early


def waiting_or_not(over: Any) -> Any:
    def swept(queue: Any, policy: Any, now: int) -> Any:
        through = first_sequence_at(now - from_seconds(policy.retention_completed)) - 1
        return [*over(queue, policy, now), Purge(queue.key, 200, through)]

    return swept


def half_as_long(over: Any) -> Any:
    def swept(queue: Any, policy: Any, now: int) -> Any:
        for change in over(queue, policy, now):
            if isinstance(change, Sweep) and change.finished_before is not None:
                yield evolve(change, finished_before=(now + change.finished_before) // 2)
            else:
                yield change

    return swept


def also_what_fails_later(failed_tasks: Any) -> Any:
    return lambda *about: evolve(failed_tasks(*about), finished_before=None)


# -- claims -------------------------------------------------------------------------------------------------
def claimed_apart(put: Any) -> Any:
    def apart(self: Any, unit: Any, then: Any, **how: Any) -> None:
        claims = [change for change in unit if isinstance(change, Claim)]
        if not claims:
            put(self, unit, then, **how)
            return
        put(self, [change for change in unit if not isinstance(change, Claim)], then, **how)
        put(self, claims, lambda answer: None)

    return apart


def cleared_at_first(run: Any) -> Any:
    async def cleared(self: Any) -> None:
        later = self._services.clock.now() + from_seconds(86_400)
        await self._services.committer.commit([Forget(later, 200)])
        await run(self)

    return cleared


def a_conflict(out_of_step: Any) -> Any:
    return lambda refused: ConflictError("somebody was quicker")


def whatever_was_asked(fingerprint: Any) -> Any:
    return lambda what, *parts: fingerprint(what)


# -- schedules ----------------------------------------------------------------------------------------------
def settled_apart(fire: Any) -> Any:
    async def fired(self: Any, schedule: Any, slot: Any = None, **how: Any) -> Any:
        if slot is None:
            return await fire(self, schedule, slot, **how)
        intake, behind, apart = self._intake, [], copy(self)

        async def insert(*about: Any, also: Any, then: Any, **how: Any) -> Any:
            tasks = await intake.insert(*about, **how)
            behind.extend(also(tasks))
            return tasks

        apart._intake = SimpleNamespace(insert=insert)
        task = await fire(apart, schedule, slot, **how)
        await self.put(behind[0].schedule)
        return task

    return fired


def only_the_last(next_due: Any) -> Any:
    def latest(schedule: Any, up_at: int) -> Any:
        slot = next_due(schedule, up_at)
        every = (schedule.every or 0) * 1_000_000
        return slot if slot is None or slot > up_at else slot + (up_at - slot) // every * every

    return latest


DURABLE: Final = "durable before it is acknowledged"
COUNTS: Final = ("counts are true",)
CLAIMS: Final = ("same request, same task", "once for each request")
SLOTS: Final = ("one task for each slot",)
KEEPING: Final = [
    Mutant(
        name="acknowledged before the commit",
        slip="a 201 for a task that is on its way to the disk",
        where="aq.actors.committer:Committer.write",
        fault=before_the_commit,
        promises=(DURABLE, "no delivery without a start", "no start of what is gone"),
    ),
    Mutant(
        name="an error taken for a success",
        slip="a commit that failed for a moment is answered as done",
        where="aq.actors.committer:Committer._commit",
        fault=an_error_is_a_success,
        promises=(DURABLE, "no delivery without a start", "no start of what is gone", "durable"),
    ),
    Mutant(
        name="an error taken for a failure",
        slip="a commit that failed for a moment is not made again, though it may have happened",
        where="aq.actors.committer:Committer._commit",
        fault=an_error_is_a_failure,
        promises=("nothing crashes within", "everything ends", "durable", "no start of what is gone"),
    ),
    Mutant(
        name="repeated as another",
        slip="a commit in doubt is made again as a new one, and refused though it has happened",
        where="aq.actors.committer:Committer._commit",
        fault=as_another_one,
        promises=("everything ends", "durable", "no start of what is gone", "nothing crashes within"),
    ),
    Mutant(
        name="a torn batch",
        slip="each task of a batch is a transaction of its own",
        where="aq.actors.intake:Intake.insert",
        fault=one_by_one,
        promises=("whole",),
    ),
    Mutant(
        name="half undone",
        slip="a unit that is refused leaves its first change",
        where="aq.storage.overlay:Overlay._undo",
        fault=all_but_the_first,
        promises=(*CLAIMS, "the engine lives"),
        first=300,
    ),
    Mutant(
        name="a count not moved",
        slip="what is deleted stays in the counts",
        where="aq.storage.draft:Draft.moved",
        fault=without_deletions,
        promises=COUNTS,
    ),
    Mutant(
        name="a count moved twice",
        slip="a task that starts as it is written counts as pending too",
        where="aq.storage.draft:Draft.moved",
        fault=started_and_pending,
        promises=COUNTS,
    ),
    Mutant(
        name="ids from nothing",
        slip="after a restart ids do not go on above those of before",
        where="aq.ids:IdMinter.__init__",
        fault=from_nothing,
        promises=("ids rise", "no start after a purge"),
    ),
    Mutant(
        name="time by the wall",
        slip="when the wall clock is set forward, what is due follows it",
        where="aq.clock:ServiceClock.now",
        fault=by_the_wall,
        promises=("never early", "late", "as asked", "backoff"),
    ),
    Mutant(
        name="back in time",
        slip="after a restart time begins at the wall clock, though later instants are on disk",
        where="aq.clock:ServiceClock.__init__",
        fault=from_the_wall,
        promises=("never early", "late", "as asked", "backoff"),
    ),
    Mutant(
        name="deleted, it is said",
        slip="a deletion is answered and not done",
        where="aq.actors.removal:Removal.remove",
        fault=answered_and_not_done,
        promises=(DURABLE,),
    ),
    Mutant(
        name="deleted, yet started",
        slip="a deletion that comes while its start is on its way is answered as done",
        where="aq.actors.removal:Removal.remove",
        fault=though_it_runs,
        promises=(DURABLE,),
        first=30,
    ),
    Mutant(
        name="a purge before its mark",
        slip="a purge is answered before its mark is durable",
        where="aq.actors.record:QueueRecord.change",
        fault=answered_before_its_mark,
        promises=("no start after a purge", "no end after a purge"),
        quick=False,
    ),
    Mutant(
        name="retention of what waits",
        slip="the janitor deletes pending tasks by their age",
        where="aq.actors.janitor:_over_their_time",
        fault=waiting_or_not,
        promises=("no task lost",),
    ),
    Mutant(
        name="half the retention",
        slip="what has ended is kept for half of its time",
        where="aq.actors.janitor:_over_their_time",
        fault=half_as_long,
        promises=("no task lost",),
    ),
    Mutant(
        name="failed no more",
        slip="a bulk retry takes what fails after it with it",
        where="aq.actors.chores:failed_tasks",
        fault=also_what_fails_later,
        promises=("terminal",),
        quick=False,
    ),
    Mutant(
        name="claims forgotten",
        slip="an idempotency key is remembered for no time",
        where="aq.claiming:KEPT",
        fault=zero,
        promises=CLAIMS,
    ),
    Mutant(
        name="claims forgotten at restart",
        slip="the janitor's first round clears every claim",
        where="aq.actors.janitor:Janitor.run",
        fault=cleared_at_first,
        promises=CLAIMS,
    ),
    Mutant(
        name="no claim",
        slip="no claim is written with a task",
        where="aq.actors.arrivals:_claim",
        fault=none_at_all,
        promises=CLAIMS,
    ),
    Mutant(
        name="a claim apart",
        slip="a claim is written behind its task, not with it",
        where="aq.actors.outbox:Outbox.put",
        fault=claimed_apart,
        promises=CLAIMS,
        first=15,
    ),
    Mutant(
        name="a conflict with nobody",
        slip="a task that cannot be taken at the moment is refused for good, as if it were one too many",
        where="aq.actors.outbox:out_of_step",
        fault=a_conflict,
        promises=("clients are told",),
        first=170,
    ),
    Mutant(
        name="a claim of anything",
        slip="another request with the same idempotency key gets the first one's answer",
        where="aq.actors.claims:fingerprint",
        fault=whatever_was_asked,
        promises=CLAIMS,
        first=15,
    ),
    Mutant(
        name="a slot fired twice",
        slip="a slot is settled behind its task, not with it",
        where="aq.actors.scheduler:Scheduler.fire",
        fault=settled_apart,
        promises=SLOTS,
        first=40,
    ),
    Mutant(
        name="slots skipped",
        slip="of the slots that passed while the engine was down only the last is fired",
        where="aq.actors.scheduler:next_due",
        fault=only_the_last,
        promises=SLOTS,
    ),
]
