"""Destinations that asked to be left alone. Pure: time is an argument.

A receiver that answers 429 or 503 with ``Retry-After`` speaks for its whole destination, so it is *held* for
every queue of the engine. When the hold is over one attempt, the *probe*, goes first. Ends it without another
``Retry-After``, the destination is free; until then nobody else starts there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from sortedcontainers import SortedList  # type: ignore[import-untyped]

from aq.instants import SECOND, Instant

FOREVER: Final[Instant] = 1 << 62
"""Later than any instant: until something happens."""
MOST_HELD: Final = 10_000
"""Destinations remembered; beyond that the one whose hold ends first is forgotten."""
LONGEST_HOLD_US: Final = 60 * SECOND


class Hold(NamedTuple):
    """Of one destination."""

    until: Instant
    probe: str | None
    renewed: bool = False
    """Whether somebody else was told to wait while the probe was out: its good end frees nothing then."""

    @property
    def blocks_until(self) -> Instant:
        return self.until if self.probe is None else FOREVER


class Holds:
    """Shared by the agendas of one engine; false while nothing is held."""

    def __init__(self) -> None:
        self.changes = 0
        """Counts what `watch` tells of."""
        self.held: dict[str, Hold] = {}
        """Not to be changed from outside; always the same dict, for those who ask often if it is empty."""
        self._by_end = SortedList()
        self._probes: dict[str, str] = {}
        self._watchers: dict[Callable[[], None], None] = {}

    def __bool__(self) -> bool:
        return bool(self.held)

    def __len__(self) -> int:
        return len(self.held)

    def watch(self, wake: Callable[[], None]) -> None:
        """Call it whenever a destination may start sooner than `blocked_until` said before."""
        self._watchers[wake] = None

    def unwatch(self, wake: Callable[[], None]) -> None:
        self._watchers.pop(wake, None)

    def hold(self, destination: str, until: Instant) -> None:
        """Nothing starts there before ``until``, then a probe. Of several instants the latest counts."""
        held = self.held.get(destination)
        if held is None:
            self._put(destination, Hold(until, None))
            if len(self.held) > MOST_HELD:
                self._forget(self._by_end[0][1])
        elif held.probe is not None:
            self._put(destination, Hold(max(until, held.until), held.probe, renewed=True))
        elif until > held.until:
            self._put(destination, Hold(until, None))

    def blocked_until(self, destination: str, now: Instant) -> Instant | None:
        """When a task may start there: None now, `FOREVER` not before the probe that is out has ended."""
        held = self.held.get(destination)
        if held is None:
            return None
        until = held.blocks_until
        return until if until > now else None

    def starting(self, destination: str, task_id: str, now: Instant) -> None:
        """A task starts. Is it the first one after a hold, it is the probe."""
        held = self.held.get(destination)
        if held is not None and held.blocks_until <= now:
            self._put(destination, Hold(held.until, task_id))
            self._probes[task_id] = destination

    def ended(self, destination: str, task_id: str, now: Instant, retry_after_us: int | None) -> None:
        """An attempt has ended; to be called for every one. ``retry_after_us`` holds the destination anew."""
        if retry_after_us is not None:
            self.hold(destination, now + min(max(retry_after_us, 0), LONGEST_HOLD_US))
        probed = self._probes.pop(task_id, None)
        if probed is None:
            return
        held = self.held[probed]
        if held.renewed:
            self._put(probed, Hold(held.until, None))
            self._changed()
        else:
            self._forget(probed)

    def abandoned(self, task_id: str) -> None:
        """If that was a probe, its end will never be heard: the next task may be one."""
        probed = self._probes.pop(task_id, None)
        if probed is not None:
            self._put(probed, Hold(self.held[probed].until, None))
            self._changed()

    def _put(self, destination: str, hold: Hold) -> None:
        before = self.held.get(destination)
        if before is not None:
            self._by_end.remove((before.blocks_until, destination))
        self.held[destination] = hold
        self._by_end.add((hold.blocks_until, destination))

    def _forget(self, destination: str) -> None:
        held = self.held.pop(destination)
        self._by_end.remove((held.blocks_until, destination))
        if held.probe is not None:
            self._probes.pop(held.probe, None)
        self._changed()

    def _changed(self) -> None:
        self.changes += 1
        for wake in tuple(self._watchers):
            wake()
