"""Promises about what an attempt's end makes of a task."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Final

import trio

from aq.instants import SECOND, Instant
from aq.outcome import AttemptStatus
from aq.policy import Backoff
from aq.sim.clock import now as current
from aq.sim.ledger import Ledger, Row
from aq.sim.starts import wish_of
from aq.sim.verdict import FUZZ, Verdict
from aq.storage.changes import Insert
from aq.task import Attempt, Environment, FailureReason, Status, Task

FORGIVEN: Final = 5
"""Attempts without a known end, in a row, that cost nothing."""
_LIVE: Final = Environment.LIVE


class Ends:
    """Judges every change of a task but its start."""

    def __init__(self, ledger: Ledger, verdict: Verdict) -> None:
        self._ledger = ledger
        self._verdict = verdict
        self._life = 0
        self._opened_at: Instant = 0

    def opening(self, life: int, now: Instant) -> None:
        self._life, self._opened_at = life, now

    # -- tasks that change ----------------------------------------------------------------------------------
    def changed(self, row: Row, after: Task, record: Attempt | None) -> None:
        """A task is on disk like this; ``record`` is the attempt that ended."""
        before = row.task
        if after.version != before.version + 1:
            self._broken("versions", f"{after.id} was {before.version}, is {after.version}")
        if before.status is Status.COMPLETED:
            self._broken("terminal", f"{after.id} was completed, is {after.status}")
        elif before.status is Status.FAILED:
            self._revived(row, after)
        elif before.status is Status.PENDING:
            self._expired(row, after)
        elif record is None or record.number != before.attempt:
            self._broken("each attempt on record", f"{after.id} ended attempt {before.attempt} with {record}")
        else:
            self._ended(row, after, record)

    def told_of(self, row: Row, unit: Sequence[Any]) -> None:
        """With an end that somebody wants to hear of, and with no other change, its callback is written."""
        task = row.task
        written = [
            change.task
            for change in unit
            if isinstance(change, Insert) and change.task.options.tells_of == task.id
        ]
        wanted = task.status.final and task.options.callback_url is not None
        if len(written) != wanted or (wanted and task.callback_id != written[0].id):
            self._broken("one callback for each end", f"{task.id} is {task.status}: {len(written)} callbacks")

    # -- within ---------------------------------------------------------------------------------------------
    def _revived(self, row: Row, after: Task) -> None:
        finished = row.task.finished_at or 0
        if after.status is not Status.PENDING or not self._ledger.may_be_retried(row.task):
            self._broken("terminal", f"{after.id} was failed, is {after.status}, and nobody asked for it")
        if after.due_at < finished:
            self._broken("never early", f"{after.id} is to be retried before its end")
        expires_in = after.options.expires_in
        if after.expires_at != (None if expires_in is None else after.due_at + expires_in * SECOND):
            self._broken("expiry", f"{after.id} is retried and expires at {after.expires_at}")
        row.failures = row.unknowns = 0
        row.revived += 1

    def _expired(self, row: Row, after: Task) -> None:
        expires_at = row.task.expires_at
        if after.status is not Status.FAILED or after.failure_reason is not FailureReason.EXPIRED:
            self._broken("states", f"{after.id} was pending, is {after.status}")
        elif expires_at is None or current() + FUZZ < expires_at:
            self._broken("expiry", f"{after.id} expired before its time")
        elif row.condemned:
            self._broken("no end after a purge", f"{after.id} expired though it counts as gone")

    def _ended(self, row: Row, after: Task, record: Attempt) -> None:
        status = self._seen(row)
        if record.status is not status:
            self._broken(
                "as it went", f"attempt {record.number} of {after.id} was {status}, not {record.status}"
            )
        unknown = status is AttemptStatus.UNKNOWN
        row.unknowns = row.unknowns + 1 if unknown else 0
        forgiven = unknown and row.unknowns <= FORGIVEN
        if status is AttemptStatus.SUCCESS:
            if after.status is not Status.COMPLETED:
                self._broken("a success completes", f"{after.id} is {after.status}")
            return
        row.failures += 0 if forgiven else 1
        ended_at = current() if unknown or row.arrival is None else self._ended_at(row)
        self._judge_failure(row, after, min(ended_at, current()), status)

    def _judge_failure(self, row: Row, after: Task, ended_at: Instant, status: AttemptStatus) -> None:
        """An attempt failed: what may the task be now?"""
        allowed, gone = self._allowed(row.task, ended_at), _is_gone(row, status)
        if after.status is Status.COMPLETED:
            self._broken("a success completes", f"{after.id} is completed by a failure")
        elif after.status is Status.PENDING:
            if gone:
                self._broken("gone is gone", f"{after.id} is to be retried after a 410")
            if row.failures > max(allowed):
                self._broken("attempts", f"{after.id} is to be retried after {row.failures} failures")
            self._judge_wait(row, after, ended_at, status)
        elif after.failure_reason is FailureReason.EXHAUSTED:
            if row.failures <= min(allowed):
                self._broken("attempts", f"{after.id} is exhausted after {row.failures} failures")
        elif after.failure_reason is FailureReason.GONE:
            if not gone:
                self._broken("gone is gone", f"{after.id} failed as gone")
        else:
            latest = ended_at + self._waits(row, ended_at, status)[1]
            if row.task.expires_at is None or row.task.expires_at > latest + FUZZ:
                self._broken("expiry", f"{after.id} expired before its time")

    def _judge_wait(self, row: Row, after: Task, ended_at: Instant, status: AttemptStatus) -> None:
        soonest, latest = self._waits(row, ended_at, status)
        begins = self._opened_at if status is AttemptStatus.UNKNOWN else ended_at
        if not begins + soonest - FUZZ <= after.due_at <= ended_at + latest + FUZZ:
            waits = (after.due_at - ended_at) / SECOND
            most = f"{soonest / SECOND} to {latest / SECOND} s"
            self._broken("backoff", f"{after.id} waits {waits} s after its failed attempt, not {most}")

    def _seen(self, row: Row) -> AttemptStatus:
        """How the attempt went, as its endpoint saw it and its sender must have."""
        arrival = row.arrival
        if arrival is None or row.arrival_life != self._life or row.life != self._life:
            return AttemptStatus.UNKNOWN
        if arrival.error is not None:
            return AttemptStatus.ERROR
        if arrival.status is None:
            least = min(self._ledger.timeouts(row))
            if (arrival.ended_at or 0) - arrival.began_at < least - 1e-5:
                self._broken("timeout", f"{row.task.id} was cut off before its time")
            return AttemptStatus.TIMEOUT
        return AttemptStatus.SUCCESS if 200 <= arrival.status <= 299 else AttemptStatus.FAILURE

    def _ended_at(self, row: Row) -> Instant:
        arrival = row.arrival
        if arrival is None or arrival.ended_at is None:
            return current()
        return current() - round((trio.current_time() - arrival.ended_at) * SECOND)

    def _allowed(self, task: Task, since: Instant) -> set[int]:
        if task.max_retries is not None:
            return {task.max_retries}
        return self._ledger.values(task.queue, "max_retries", since)

    def _waits(self, row: Row, since: Instant, status: AttemptStatus) -> tuple[int, int]:
        """How long the wait before the next attempt must and may be, in microseconds."""
        unknown = status is AttemptStatus.UNKNOWN
        if unknown and row.unknowns <= FORGIVEN:
            return 0, 0
        wish = 0 if unknown or row.arrival is None else wish_of(row.arrival) or 0
        names = ("retry_backoff", "retry_delay", "retry_delay_max", "retry_jitter")
        waits = []
        for backoff, delay, most, jitter in product(
            *(sorted(self._ledger.values(row.task.queue, name, since)) for name in names)
        ):
            times = {Backoff.FIXED: 1, Backoff.LINEAR: row.failures}.get(backoff, 2 ** (row.failures - 1))
            wait = min(delay * times, most)
            waits.append((wait, wait * (1 + jitter)))
        soonest, latest = min(wait for wait, _ in waits), max(wait for _, wait in waits)
        return round(max(soonest, wish) * SECOND), round(max(latest, wish) * SECOND) + 1

    def _broken(self, promise: str, told: str) -> None:
        self._verdict.broken(promise, told)


def _is_gone(row: Row, status: AttemptStatus) -> bool:
    return status is AttemptStatus.FAILURE and row.arrival is not None and row.arrival.status == 410
