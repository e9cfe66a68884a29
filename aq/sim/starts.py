"""Promises about what may start, and what goes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import define

from aq.instants import SECOND, Instant
from aq.policy import RateLimit
from aq.sim.clock import now as current
from aq.sim.ledger import Ledger, Row
from aq.sim.network import Arrival
from aq.sim.verdict import FUZZ, Verdict
from aq.storage.changes import Insert, Start
from aq.task import Environment, QueueKey, Status, Task

LONGEST_HOLD: Final = 60 * SECOND
_DIGITS: Final = "0123456789"
_NOT_YET: Final[Instant] = 1 << 62


@define
class Hold:
    """Of a destination that asked for a pause: nothing starts before ``until``, then one at a time."""

    until: Instant
    heard_by: Arrival
    """The exchange in which it asked for that."""
    known_at: Instant | None = None
    """When the end of the attempt that heard it was on disk; until then other queues may not know."""
    probe: str | None = None
    blurred: bool = False
    """Whether somebody who may not have known of it started after it: perhaps as its probe."""


@define
class Bucket:
    """Tokens of a queue: at most ``most``, at least ``least``."""

    limit: RateLimit
    at: Instant
    most: float = 0
    least: float = 0

    def fill(self, now: Instant) -> None:
        more = max(0, now - self.at) / SECOND * self.limit.per_second
        burst = self.limit.burst or 1
        self.most, self.least = min(burst, self.most + more), min(burst, self.least + more)
        self.at = max(self.at, now)


class Starts:
    """Judges every start as its commit returns: commits are in the order of the decisions."""

    def __init__(self, ledger: Ledger, verdict: Verdict, max_attempts: int) -> None:
        self.max_attempts = max_attempts
        self.holds: dict[str, Hold] = {}
        self._ledger = ledger
        self._verdict = verdict
        self._buckets: dict[QueueKey, Bucket] = {}
        self._blurred: dict[QueueKey, Instant] = {}
        """Since when at the latest the limit of a queue is certain again."""
        self._refused_at: dict[QueueKey, Instant] = {}
        """When the latest start in a queue was refused."""
        self.life = 0
        self.opened_at: Instant = 0
        self.up_at: Instant = 0
        """When the engine had been opened, `_NOT_YET` before; buckets began to fill between the two."""

    def opening(self, life: int, now: Instant) -> None:
        """Nobody knows who asked for a pause, or what was started just before: buckets are empty."""
        self.holds.clear()
        self._buckets.clear()
        self._blurred.clear()
        self._refused_at.clear()
        self.life, self.opened_at, self.up_at = life, now, _NOT_YET

    def up(self, now: Instant) -> None:
        """The engine has been opened. Some queues may have started tasks already: theirs filled before."""
        self.up_at = now
        self.uncertain()

    def started(self, row: Row, after: Task) -> None:
        """``row`` is as it was; ``after`` is the task as started."""
        before, at = row.task, after.started_at or 0
        if before.status is not Status.PENDING:
            self._broken("no start after an end", after, f"while {before.status}")
        if row.condemned:
            self._broken("no start after a purge", after, "which a purge had covered")
        if after.attempt != before.attempt + 1 or after.version != before.version + 1:
            self._broken("attempt numbers", after, f"{before.attempt} then {after.attempt}")
        if at < before.due_at or current() + FUZZ < before.due_at:
            self._broken("never early", after, f"at {at}, due at {before.due_at}")
        if before.expires_at is not None and at >= before.expires_at:
            self._broken("no start after expiry", after, f"at {at}, expired at {before.expires_at}")
        if before.queue.environment is Environment.TEST:
            self._broken("sandbox", after, "in the sandbox")
        row.arrival = None
        self._judge_limits(row, after, at)
        self._judge_holds(after, at)
        self._judge_order(row, at)

    def ended(self, row: Row) -> None:
        """An attempt's end is on disk."""
        hold = self.holds.get(row.task.destination)
        if hold is None:
            return
        asked = row.arrival is not None and wish_of(row.arrival) is not None
        if row.arrival is hold.heard_by:
            hold.known_at = current()
        if hold.probe == row.task.id:
            hold.probe = None
            if not asked and current() >= hold.until - FUZZ:
                del self.holds[row.task.destination]

    def left(self, arrival: Arrival) -> None:
        """An exchange is over: its endpoint may have asked for a pause."""
        wish = wish_of(arrival)
        if wish is not None:
            until = current() + min(wish * SECOND, LONGEST_HOLD)
            hold = self.holds.setdefault(arrival.destination, Hold(until, arrival))
            if until > hold.until:
                hold.until, hold.heard_by, hold.known_at, hold.blurred = until, arrival, None, False

    def refused(self, unit: Sequence[Any]) -> None:
        """A start that was refused has used a token all the same, and took its place until now."""
        for change in unit:
            if isinstance(change, Start):
                key, at = change.queue, change.at
            elif isinstance(change, Insert) and change.task.started_at is not None:
                key, at = change.task.queue, change.task.started_at
            else:
                continue
            self._refused_at[key] = current()
            bucket = self._bucket(key, at)
            if bucket is not None:
                bucket.least -= 1

    def held(self, destination: str, at: Instant) -> bool:
        """Whether it may be that nothing may start there."""
        hold = self.holds.get(destination)
        return hold is not None and (at <= hold.until + FUZZ or self._ledger.busy(destination))

    def full(self, key: QueueKey, destination: str, since: Instant) -> bool:
        """Whether it may be that as many attempts of a queue are in flight there as may."""
        caps = self._ledger.values(key, "destination_concurrency", since) - {None}
        return bool(caps) and self._in_flight(key, destination) >= min(caps)

    def tokens(self, key: QueueKey, now: Instant) -> float:
        """How many there are at least; infinity without a limit."""
        bucket = self._bucket(key, now)
        return float("inf") if bucket is None else bucket.least

    def uncertain(self) -> None:
        """Something failed: how many tokens are left is not known any more."""
        for bucket in self._buckets.values():
            bucket.least = 0

    # -- within ---------------------------------------------------------------------------------------------
    def _judge_limits(self, row: Row, after: Task, at: Instant) -> None:
        key, ledger = after.queue, self._ledger
        if ledger.values(key, "paused", at) == {True}:
            self._broken("pause", after, "in a paused queue")
        most = max(ledger.values(key, "concurrency", at))
        in_flight = ledger.in_flight(self.life)
        if len(ledger.active[key]) >= most:
            self._broken("concurrency", after, f"with {len(ledger.active[key])} of {most} in flight")
        if in_flight >= self.max_attempts:
            self._broken("max attempts", after, f"with {in_flight} of {self.max_attempts} in flight")
        caps = ledger.values(key, "destination_concurrency", at)
        if None not in caps and self._in_flight(key, after.destination) >= max(caps):
            self._broken("destination concurrency", after, f"beyond {max(caps)} at {after.destination}")
        if not ledger.at_its_turn(row):
            self._broken("ordering key", after, f"out of its turn among {after.ordering_key}")
        bucket = self._bucket(key, at)
        if bucket is not None:
            if bucket.most < 1 - 1e-6:
                self._broken("rate limit", after, f"with {bucket.most:.6f} tokens of {bucket.limit}")
            bucket.most, bucket.least = bucket.most - 1, bucket.least - 1

    def _judge_holds(self, after: Task, at: Instant) -> None:
        hold = self.holds.get(after.destination)
        if hold is None:
            return
        if hold.known_at is None or hold.known_at >= at:
            hold.blurred = hold.blurred or at >= hold.until - FUZZ
        elif at < hold.until - FUZZ:
            self._broken("hold", after, f"at {at}, its destination is held until {hold.until}")
        elif hold.blurred:
            return
        elif hold.probe is not None:
            self._broken("one probe", after, f"while {hold.probe} was asking")
        else:
            hold.probe = after.id

    def _judge_order(self, row: Row, at: Instant) -> None:
        """Nothing that could have started went before it, as far as everybody knew before that instant."""
        place = row.order
        for other in self._ledger.waiting(row.task.queue):
            if other.order < place and other is not row and self.could_start(other, at):
                self._broken("order", row.task, f"before {other.task.id}")

    def could_start(self, row: Row, at: Instant) -> bool:
        """Whether a waiting task was due and free to start just before ``at``, and known to be."""
        task = row.task
        return (
            task.due_at + FUZZ < at
            and row.known_at + FUZZ < at
            and not self._ledger.may_be_purged(row, at)
            and (task.expires_at is None or at < task.expires_at)
            and not self.held(task.destination, at)
            and not self.full(task.queue, task.destination, at - FUZZ)
            and not self._may_be_taken(task, at)
            and self._has_been_at_its_turn(row, at)
        )

    def _may_be_taken(self, task: Task, at: Instant) -> bool:
        """Whether a start that was refused since may have had the last place there, or was its probe."""
        caps = self._ledger.values(task.queue, "destination_concurrency", at - FUZZ) - {None}
        return at <= self._refused_at.get(task.queue, 0) + FUZZ and bool(caps or self.holds)

    def _has_been_at_its_turn(self, row: Row, at: Instant) -> bool:
        key = row.task.ordering_key
        if key is None:
            return True
        since = self._ledger.turned.get((row.task.queue, key), 0)
        return since + FUZZ < at and self._ledger.at_its_turn(row)

    def _in_flight(self, key: QueueKey, destination: str) -> int:
        return sum(row.task.destination == destination for row in self._ledger.active[key].values())

    def _bucket(self, key: QueueKey, at: Instant) -> Bucket | None:
        limits = self._ledger.values(key, "rate_limit", at)
        bucket = self._buckets.get(key)
        if len(limits) > 1 or limits == {None}:
            self._buckets.pop(key, None)
            self._blurred[key] = at
            return None
        (limit,) = limits
        if bucket is None or bucket.limit != limit:
            blurred = max(self._blurred.get(key, 0), self._ledger.changed_at(key, "rate_limit"))
            began = min(at, max(self.opened_at, blurred))  # a life before may have had a clock ahead of ours
            missing = max(0, self.up_at - began) / SECOND * limit.per_second
            most = limit.burst if blurred > self.opened_at else 0
            bucket = self._buckets[key] = Bucket(limit, began, most, -missing)
        bucket.fill(at)
        return bucket

    def _broken(self, promise: str, task: Task, how: str) -> None:
        self._verdict.broken(promise, f"{task.id} was started {how}")


def wish_of(arrival: Arrival) -> int | None:
    """The seconds for which an endpoint asked to be left alone, if it said so in a way that counts."""
    text = arrival.retry_after or ""
    if arrival.status not in (429, 503) or not text or text.strip(_DIGITS) or not int(text):
        return None
    return min(int(text), 86_400)
