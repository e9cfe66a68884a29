"""Where the time of one exchange goes, also of one that fails or is cut off in the middle of a step.

Whoever holds the stopwatch may ask: a deadline is set from outside, and cancels what measured.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import trio

from aq.outcome import Timing

Step: TypeAlias = Literal["dns", "connect", "tls"]


class Stopwatch:
    """Measures one exchange in Trio's time. Steps follow one another; what ends one may begin the next."""

    __slots__ = ("_began", "_connect", "_dns", "_since", "_step", "_tls", "_ttfb")
    _step: Step | None
    _dns: int | None
    _connect: int | None
    _tls: int | None
    _ttfb: int | None

    def __init__(self) -> None:
        self._began: float | None = None
        self._forget()

    def start(self) -> float:
        """The exchange begins: what was measured before is forgotten. Returns the time."""
        if self._began is not None:
            self._forget()
        self._began = now = trio.current_time()
        return now

    def begin(self, step: Step | None) -> None:
        """The step under way has ended, and this one begins; None: no other."""
        now = trio.current_time()
        self._measure_step(now)
        self._step, self._since = step, now

    def answered(self, asked: float) -> None:
        """The first byte of the answer is here; ``asked`` is when the request began to leave."""
        self._ttfb = milliseconds(trio.current_time() - asked)

    def timing(self) -> Timing | None:
        """All that was measured so far, the step under way until now; None before the start."""
        if self._began is None:
            return None
        now = trio.current_time()
        self._measure_step(now)
        return Timing(self._dns, self._connect, self._tls, self._ttfb, milliseconds(now - self._began))

    def _measure_step(self, now: float) -> None:
        if self._step is not None:
            setattr(self, f"_{self._step}", milliseconds(now - self._since))

    def _forget(self) -> None:
        self._step, self._since = None, 0.0
        self._dns = self._connect = self._tls = self._ttfb = None


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, rounded to the nearest."""
    return round(seconds * 1_000)
