"""How many tasks of one queue may start now, and where. Pure: time is an argument.

The gate knows the queue's slots, its rate limit, how many of its tasks run at each destination, and which
destinations asked for a pause. It says when and where; who is next is for the agenda to say.
"""

from __future__ import annotations

from collections import Counter

from aq.actors.bucket import TokenBucket
from aq.actors.holds import FOREVER, Holds
from aq.instants import Instant
from aq.policy import QueuePolicy, RateLimit
from aq.storage.answers import Entry


class Gate:
    """Of one queue. ``holds`` may be shared with other gates."""

    def __init__(self, holds: Holds) -> None:
        self.running: dict[str, str] = {}
        """The destination of each task that has a slot."""
        self.capped = False
        """Whether a destination may have only so many attempts of this queue."""
        self.holds = holds
        self._held = holds.held
        self._busy: Counter[str] | None = None
        self._bucket: TokenBucket | None = None
        self._slots = 0

    def adopt(self, policy: QueuePolicy, now: Instant) -> None:
        """This policy holds from now on, for what runs already too."""
        self.policy = policy
        self.capped = policy.destination_concurrency is not None
        self._slots = 0 if policy.paused else policy.concurrency
        self._busy = Counter(self.running.values()) if self.capped else None
        self._adopt_rate(policy.rate_limit, now)

    def _adopt_rate(self, limit: RateLimit | None, now: Instant) -> None:
        if limit is None:
            self._bucket = None
        elif self._bucket is None:
            self._bucket = TokenBucket(limit, now)
        else:
            self._bucket.adopt(limit, now)

    # -- when -----------------------------------------------------------------------------------------------
    @property
    def free_slots(self) -> int:
        free = self._slots - len(self.running)
        return free if free > 0 else 0

    def most(self, now: Instant) -> int:
        """How many may start now, whatever waits; below 0 when too many run already."""
        free = self._slots - len(self.running)
        return free if self._bucket is None else min(free, self._bucket.available(now))

    def token_at(self, now: Instant) -> Instant:
        """When the rate limit lets the next one start; now while it lets one."""
        return now if self._bucket is None else self._bucket.next_at(now)

    def rests_at(self, now: Instant) -> Instant | None:
        """When the rate limit has forgotten the past; None while something runs."""
        if self.running:
            return None
        return now if self._bucket is None else max(now, self._bucket.full_at())

    def idle_since(self, instant: Instant) -> None:
        """Nothing was started since then: the rate limit need not wait for more."""
        if self._bucket is not None:
            self._bucket.idle_since(instant)

    # -- where ----------------------------------------------------------------------------------------------
    @property
    def indifferent(self) -> bool:
        """Whether no destination is blocked, and none will be by what starts."""
        return not (self.capped or self._held)

    def is_full(self, destination: str) -> bool:
        """Whether as many of the queue's tasks run there as may."""
        most = self.policy.destination_concurrency
        return self._busy is not None and most is not None and self._busy[destination] >= most

    def blocked_until(self, destination: str, now: Instant) -> Instant | None:
        """When a task may start there: None now, `FOREVER` not before something happens."""
        return FOREVER if self.is_full(destination) else self.holds.blocked_until(destination, now)

    # -- what passes ----------------------------------------------------------------------------------------
    def enter(self, entry: Entry, now: Instant) -> None:
        """A task has a slot until it leaves; its token is taken by `spend`."""
        self.running[entry.id] = entry.destination
        if self._busy is not None:
            self._busy[entry.destination] += 1
        if self._held:
            self.holds.starting(entry.destination, entry.id, now)

    def spend(self, tokens: int, now: Instant) -> None:
        """So many have entered."""
        if self._bucket is not None:
            self._bucket.take(now, tokens)

    def leave(self, task_id: str) -> str | None:
        """The slot of a task is free again. Returns a destination that may have room now."""
        destination = self.running.pop(task_id, None)
        if destination is None or self._busy is None:
            return None
        self._busy[destination] -= 1
        if not self._busy[destination]:
            del self._busy[destination]
        return destination
