"""A queue's policy: how its tasks are retried, timed out and run side by side. Pure.

A value that a task did not set itself is the queue's *at the moment of the decision*, so changing a policy
holds for the tasks that wait already.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from attrs import frozen

from aq.instants import from_seconds
from aq.rules import Flag, Integer, Number, OneOf, enforce


class Backoff(StrEnum):
    """How the wait before the n-th retry grows from ``retry_delay``."""

    EXPONENTIAL = "exponential"
    """delay x 1, 2, 4, 8 …"""
    LINEAR = "linear"
    """delay x 1, 2, 3, 4 …"""
    FIXED = "fixed"
    """delay, always"""


@frozen(kw_only=True)
class QueuePolicy:
    """Raises ValidationError naming every wrong field. Spans are in seconds."""

    max_retries: Annotated[int, Integer(0, 100)] = 3
    retry_backoff: Annotated[Backoff, OneOf(Backoff)] = Backoff.EXPONENTIAL
    retry_delay: Annotated[float, Number(0, 86_400)] = 1
    retry_delay_max: Annotated[float, Number(0, 31_536_000)] = 3_600
    retry_jitter: Annotated[float, Number(0, 1)] = 0.1
    timeout: Annotated[float, Number(1, 900)] = 30
    concurrency: Annotated[int, Integer(1, 10_000)] = 50
    paused: Annotated[bool, Flag()] = False

    def __attrs_post_init__(self) -> None:
        enforce(self)

    def retry_wait_us(self, failures: int, chance: float) -> int:
        """The wait before the next attempt, in microseconds, counted from the end of the failed one.

        ``failures`` is how many attempts have failed so far (1 for the first retry); ``chance`` is uniform
        in [0, 1). The jitter only ever adds, at most ``retry_jitter`` of the wait.
        """
        if self.retry_backoff is Backoff.EXPONENTIAL:
            factor = 2.0 ** min(failures - 1, 1_000)
        elif self.retry_backoff is Backoff.LINEAR:
            factor = float(failures)
        else:
            factor = 1.0
        wait = min(self.retry_delay * factor, self.retry_delay_max)
        return from_seconds(wait * (1 + self.retry_jitter * chance))
