"""What must have happened by now: judged whenever everybody waits for time to pass."""

from __future__ import annotations

from collections.abc import Iterator

import trio
from attrs import define, field

from aq.instants import SECOND
from aq.sim.clock import now as current
from aq.sim.ledger import Ask, Ledger, Row
from aq.sim.starts import Starts
from aq.sim.verdict import FUZZ, Verdict
from aq.task import Environment, QueueKey, Status

PUT_OFF = 31 * SECOND
"""After so long a slot that was refused is tried again."""
MARGIN = 1e-3
"""Tokens that may be missing for the last one, by the rounding of the bucket."""


@define
class Rest:
    """Lateness without a reason: a task that could start, an end that is due, a caller who is not told."""

    ledger: Ledger
    verdict: Verdict
    starts: Starts
    waits: dict[int, Ask] = field(factory=dict)
    """Callers who wait for the end of a task."""
    _told: set[str] = field(factory=set)

    def judge(self, *, schedules: bool) -> None:
        """Everything has come to rest, and no call of the storage is under way or to be made again."""
        now = current()
        room = self.ledger.in_flight(self.starts.life) < self.starts.max_attempts
        for key, rows in self.ledger.open.items():
            if rows and key.environment is not Environment.TEST:
                self._judge_queue(key, rows, now, room=room)
        for ask in self.waits.values():
            row = self.ledger.rows.get(ask.task_id or "")
            if row is None or (row.task.status.final and row.known_at + FUZZ < now):
                self._late(f"{ask.task_id} has ended, and who waits for it is not told")
        if schedules:
            self._judge_schedules(now)

    def _judge_queue(self, key: QueueKey, rows: dict[str, Row], now: int, *, room: bool) -> None:
        queue = self.ledger.queues.get(key)
        if queue is not None and queue.clearing is not None:
            return
        free = room and self._may_start(key, now)
        for row in rows.values():
            if row.task.status is Status.ACTIVE:
                self._judge_length(row)
            if row.task.status is not Status.PENDING or row.condemned:
                continue
            expires_at = row.task.expires_at
            if expires_at is not None and expires_at + FUZZ < now:
                self._late(f"{row.task.id} expired at {expires_at}, and waits still")
            elif free and row.task.due_at + FUZZ < now and self._could_start(row, now):
                self._late(f"{row.task.id} waits beside a free slot since {row.task.due_at}")

    def _could_start(self, row: Row, now: int) -> bool:
        held = self.starts.held(row.task.destination, now - FUZZ)
        return not held and self.starts.could_start(row, now + 2 * FUZZ)

    def _judge_length(self, row: Row) -> None:
        arrival = row.arrival
        if arrival is not None and arrival.ended_at is None and row.life == self.starts.life:
            most = max(self.ledger.timeouts(row))
            if arrival.began_at + most + 1e-5 < trio.current_time():
                self._late(f"attempt {row.task.attempt} of {row.task.id} goes on after its {most:g} s")

    def _may_start(self, key: QueueKey, now: int) -> bool:
        ledger = self.ledger
        return (
            len(ledger.active[key]) < min(ledger.values(key, "concurrency", now))
            and ledger.values(key, "paused", now) == {False}
            and len(ledger.values(key, "rate_limit", now)) == 1
            and self.starts.tokens(key, now) >= 1 + MARGIN
        )

    def _judge_schedules(self, now: int) -> None:
        for schedule in self.ledger.schedules.values():
            every = (schedule.every or 1) * SECOND
            settled = max(schedule.last_slot or 0, schedule.from_at)
            if schedule.paused or now < self.ledger.put_off.get(schedule.id, -PUT_OFF) + PUT_OFF:
                continue
            if self._slot_after(schedule.from_at, every, settled) + FUZZ < now:
                self._late(f"{schedule.id} has passed over a slot after {settled}")

    def _slot_after(self, start: int, every: int, settled: int) -> int:
        """The first slot that is not settled, of those since the engine is up."""
        after = max(settled, self.starts.up_at)
        return start + max(1, (after - start) // every + 1) * every

    def _late(self, told: str) -> None:
        if told not in self._told:
            self._told.add(told)
            self.verdict.broken("late", told)

    def unended(self) -> Iterator[str]:
        """What has not come to its end: tasks, of those that will, and what queues were asked to do."""
        for key, rows in self.ledger.open.items():
            if key.environment is not Environment.TEST:
                yield from (f"{row.task.id} is {row.task.status}" for row in rows.values())
        for key, queue in self.ledger.queues.items():
            if queue.clearing is not None:
                yield f"queue {key} is to be purged or deleted"
            if queue.revival is not None:
                yield f"queue {key} has failed tasks to retry"
