"""Durations, kept as a histogram: constant size however many there are, and two of them add up. Pure."""

from __future__ import annotations

import math
from typing import Final

from attrs import define, field

_STEPS: Final = 128
"""Buckets for each doubling: a value is told within 1/128 of it."""
_LEAST: Final = 1e-7


@define
class Spread:
    """``counts`` are by bucket, ``total`` and ``most`` in seconds. What is below 0.1 µs counts as that."""

    counts: dict[int, int] = field(factory=dict)
    count: int = 0
    total: float = 0.0
    most: float = 0.0

    def add(self, seconds: float) -> None:
        fraction, doublings = math.frexp(seconds if seconds > _LEAST else _LEAST)
        bucket = doublings * _STEPS + int(fraction * 2 * _STEPS)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.most:
            self.most = seconds

    def merge(self, other: Spread) -> None:
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.most = max(self.most, other.most)

    def quantile(self, part: float) -> float:
        """What ``part`` of all do not exceed, rounded up to its bucket's end; 0 where there are none."""
        rank, seen = math.ceil(part * self.count), 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return min(_end(bucket), self.most)
        return 0.0

    def summary(self) -> dict[str, float]:
        """Milliseconds: ``p50 p90 p99 p99.9 max mean``."""
        parts = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
        told = {name: self.quantile(part) for name, part in parts.items()}
        told |= {"max": self.most, "mean": self.total / self.count if self.count else 0.0}
        return {name: round(seconds * 1e3, 3) for name, seconds in told.items()}


def _end(bucket: int) -> float:
    doublings, step = divmod(bucket - _STEPS, _STEPS)
    return math.ldexp((step + 1 + _STEPS) / (2 * _STEPS), doublings)
