"""What has happened since an engine was opened: counts that only rise, for whoever scrapes them. Pure.

Counting is a handful of additions to plain numbers per task; nothing is formatted before somebody asks. What
happened *lately* is kept by `aq.actors.meter`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, TypeAlias

from attrs import define, field

from aq.instants import SECOND
from aq.outcome import AttemptStatus, ErrorType
from aq.task import Attempt, Environment, FailureReason, QueueKey

MAX_QUEUES: Final = 100
"""Live queues that are counted on their own, in the order in which they are first heard of."""
OTHER: Final = "_other"
"""What stands for all queues beyond; one of this very name is counted with them."""

ERRORS: Final = ("full", "corrupt", "unavailable", "fatal")
"""What may be wrong with a storage: for a moment, until somebody helps, or for good."""

Outcomes: TypeAlias = dict[tuple[AttemptStatus, ErrorType | None], int]
"""How many attempts ended so."""


def _us(*seconds: float) -> tuple[int, ...]:
    return tuple(round(second * SECOND) for second in seconds)


LATENESS_US: Final = _us(
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)
)
DURATION_US: Final = _us(
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 300, 900)
)
COMMIT_US: Final = _us(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
COMMIT_UNITS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@define(eq=False)
class Histogram:
    """How many were how large: ``counts[n]`` were at most ``bounds[n]``, the last ones larger than all."""

    bounds: Sequence[int]
    counts: list[int]
    sum: int = 0

    @classmethod
    def of(cls, bounds: Sequence[int]) -> Histogram:
        return cls(bounds, [0] * (len(bounds) + 1))

    def add(self, value: int) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self) -> Histogram:
        return Histogram(self.bounds, self.counts[:], self.sum)


@define(eq=False)
class QueueTotals:
    """Of one queue, or of several together."""

    created: int = 0
    retried: int = 0
    """Retries to come, by the queue's policy or by hand."""
    deleted: int = 0
    completed: int = 0
    failed: dict[FailureReason | None, int] = field(factory=dict)
    """For good."""
    outcomes: Outcomes = field(factory=dict)
    late_us: Histogram = field(factory=lambda: Histogram.of(LATENESS_US))
    """Start minus due, of each attempt that started."""
    took_us: Histogram = field(factory=lambda: Histogram.of(DURATION_US))
    """From start to end, of each attempt whose end is known."""

    def attempted(self, attempt: Attempt) -> None:
        """An attempt has ended."""
        outcome = attempt.status, attempt.error_type
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if attempt.status is not AttemptStatus.UNKNOWN:
            self.took_us.add(attempt.duration_us)

    def failed_for_good(self, reason: FailureReason | None) -> None:
        self.failed[reason] = self.failed.get(reason, 0) + 1

    def copy(self) -> QueueTotals:
        return QueueTotals(
            created=self.created,
            retried=self.retried,
            deleted=self.deleted,
            completed=self.completed,
            failed=self.failed.copy(),
            outcomes=self.outcomes.copy(),
            late_us=self.late_us.copy(),
            took_us=self.took_us.copy(),
        )


@define(eq=False)
class StorageTotals:
    """``errors`` are counted by `ERRORS`."""

    took_us: Histogram = field(factory=lambda: Histogram.of(COMMIT_US))
    """Of each transaction that was tried."""
    units: Histogram = field(factory=lambda: Histogram.of(COMMIT_UNITS))
    """In each transaction that was tried."""
    errors: dict[str, int] = field(factory=lambda: dict.fromkeys(ERRORS, 0))

    def copy(self) -> StorageTotals:
        return StorageTotals(self.took_us.copy(), self.units.copy(), self.errors.copy())


@define(eq=False)
class Totals:
    """Of one engine. Tasks of the sandbox are counted apart from all others, and shown to nobody."""

    max_queues: int = MAX_QUEUES
    queues: dict[str, QueueTotals] = field(factory=dict)
    """Live ones by name, `OTHER` among them once there are more."""
    sandbox: QueueTotals = field(factory=QueueTotals)
    callbacks: QueueTotals = field(factory=QueueTotals)
    """The attempts of callbacks, of all queues."""
    storage: StorageTotals = field(factory=StorageTotals)

    def of(self, key: QueueKey) -> QueueTotals:
        """Where a queue is counted, from now on and for good."""
        if key.environment is Environment.LIVE:
            return self.queues.get(key.name) or self._new(key.name)
        return self.sandbox if key.environment is Environment.TEST else self.callbacks

    def label(self, name: str) -> str:
        """What a live queue is counted under."""
        self.of(QueueKey(Environment.LIVE, name))
        return name if name in self.queues else OTHER

    def copy(self) -> Totals:
        """As it is at this moment."""
        return Totals(
            max_queues=self.max_queues,
            queues={name: totals.copy() for name, totals in self.queues.items()},
            sandbox=self.sandbox.copy(),
            callbacks=self.callbacks.copy(),
            storage=self.storage.copy(),
        )

    def _new(self, name: str) -> QueueTotals:
        named = len(self.queues) - (OTHER in self.queues)
        return self.queues.setdefault(name if named < self.max_queues else OTHER, QueueTotals())
