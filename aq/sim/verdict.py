"""What was found wrong in a run."""

from __future__ import annotations

from typing import Final

import trio
from attrs import frozen

from aq.instants import Instant
from aq.sim.trace import Trace

FUZZ: Final[Instant] = 2
"""Microseconds by which two instants may differ that are meant to be one: timers are floats."""
_MOST: Final = 20
"""Violations kept of one run; the first one counts most."""


@frozen
class Violation:
    """A promise that was broken: its name, when (seconds of virtual time), and how."""

    promise: str
    at: float
    told: str

    def __str__(self) -> str:
        return f"{self.at:.6f} broken: {self.promise}: {self.told}"


class Verdict:
    """Good as long as ``violations`` is empty."""

    def __init__(self, trace: Trace) -> None:
        self.violations: list[Violation] = []
        self._trace = trace

    def broken(self, promise: str, told: str) -> None:
        """A promise was broken, now."""
        violation = Violation(promise, trio.current_time(), told)
        self._trace.say("BROKEN", promise, told)
        if len(self.violations) < _MOST:
            self.violations.append(violation)
