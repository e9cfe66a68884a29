"""What a commit changes besides tasks, and how a unit that is refused leaves no trace."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from aq.apikey import ApiKey
from aq.instants import Instant
from aq.schedule import Schedule
from aq.storage.answers import Reason
from aq.storage.before import Before, QueueHead
from aq.storage.changes import Claim, DropSchedule, Forget, PutKey, PutQueue, PutSchedule, PutSetting
from aq.task import Environment, Queue, QueueKey

UNTOUCHED: Final[Any] = object()
_Log: TypeAlias = list[tuple[dict[Any, Any], Any, Any]]


class Overlay:
    """Queues, claims, keys, schedules and settings as they are afterwards, over what the commit finds."""

    def __init__(self, before: Before, now: Instant) -> None:
        self.queues: dict[QueueKey, Queue | None] = {}
        self.claims: dict[tuple[Environment, str], Claim | None] = {}
        self.keys: dict[str, ApiKey] = {}
        self.schedules: dict[str, Schedule | None] = {}
        self.settings: dict[str, str] = {}
        self._before = before
        self._now = now
        self._log: _Log = []
        """What the unit overwrote: where, and with what there before."""
        self._count = 0

    def _put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._log.append((table, key, table.get(key, UNTOUCHED)))
        table[key] = value

    def _undo(self) -> None:
        for table, key, old in reversed(self._log):
            if old is UNTOUCHED:
                table.pop(key, None)
            else:
                table[key] = old

    def _queue(self, key: QueueKey) -> QueueHead | None:
        queue: Queue | None = self.queues.get(key, UNTOUCHED)
        if queue is UNTOUCHED:
            return self._before.queue(key)
        return None if queue is None else QueueHead.of(queue)

    def _put_queue(self, change: PutQueue) -> Reason | None:
        queue = change.queue
        known = self._queue(queue.key)
        reason = _does_not_follow(queue.version, None if known is None else known.version)
        if reason is None:
            self._put(self.queues, queue.key, queue)
        return reason

    def _claim(self, change: Claim) -> Reason | None:
        place = change.environment, change.name
        known: Claim | None = self.claims.get(place, UNTOUCHED)
        if known is UNTOUCHED:
            until = self._before.claimed_until(*place)
        else:
            until = None if known is None else known.expires_at
        if until is not None and until > self._now:
            return Reason.EXISTS
        self._put(self.claims, place, change)
        return None

    def _forget(self, change: Forget) -> None:
        stored = self._before.expired_claims(change.before, change.limit + len(self.claims))
        expired = [place for place in stored if place not in self.claims]
        for place, claim in self.claims.items():
            if claim is not None and claim.expires_at <= change.before:
                expired.append(place)
        for place in expired[: change.limit]:
            self._put(self.claims, place, None)
            self._count += 1

    def _put_key(self, change: PutKey) -> None:
        self._put(self.keys, change.key.id, change.key)

    def _put_schedule(self, change: PutSchedule) -> Reason | None:
        schedule = change.schedule
        reason = _does_not_follow(schedule.version, self._schedule_version(schedule.id))
        if reason is None:
            self._put(self.schedules, schedule.id, schedule)
        return reason

    def _drop_schedule(self, change: DropSchedule) -> Reason | None:
        if self._schedule_version(change.id) is None:
            return Reason.MISSING
        self._put(self.schedules, change.id, None)
        return None

    def _schedule_version(self, schedule_id: str) -> int | None:
        schedule: Schedule | None = self.schedules.get(schedule_id, UNTOUCHED)
        if schedule is UNTOUCHED:
            return self._before.schedule_version(schedule_id)
        return None if schedule is None else schedule.version

    def _put_setting(self, change: PutSetting) -> None:
        self._put(self.settings, change.name, change.value)


def _does_not_follow(version: int, known: int | None) -> Reason | None:
    """Why what is put at this version cannot follow what is there: version 1 creates, n replaces n - 1."""
    if version == 1 and known is not None:
        return Reason.EXISTS
    if version != 1 and known is None:
        return Reason.MISSING
    return Reason.VERSION if known is not None and known != version - 1 else None
