"""A queue's policy: how its tasks are retried, timed out and run side by side. Pure.

A value that a task did not set itself is the queue's *at the moment of the decision*, so changing a policy
holds for the tasks that wait already.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias

from attrs import field, frozen

from aq.instants import from_seconds
from aq.rules import (
    Flag,
    Integer,
    Items,
    Number,
    OneOf,
    Optional,
    Text,
    enforce,
    given,
    object_schema,
    structure,
)


class Backoff(StrEnum):
    """How the wait before the n-th retry grows from ``retry_delay``."""

    EXPONENTIAL = "exponential"
    """delay x 1, 2, 4, 8 …"""
    LINEAR = "linear"
    """delay x 1, 2, 3, 4 …"""
    FIXED = "fixed"
    """delay, always"""


@frozen
class RateLimit:
    """Starts per second, and how many may come at once after a pause. Raises ValidationError."""

    per_second: Annotated[float, Number(0.001, 100_000)]
    burst: Annotated[int | None, Optional(Integer(1, 100_000))] = None
    """None becomes one second's worth."""

    def __attrs_post_init__(self) -> None:
        enforce(self)
        if self.burst is None:
            object.__setattr__(self, "burst", math.ceil(self.per_second))


@frozen
class _Rate:
    """A `RateLimit`, or an object with its fields."""

    def accept(self, value: object) -> RateLimit:
        if isinstance(value, RateLimit):
            return value
        if not isinstance(value, Mapping):
            raise ValueError('must be an object such as {"per_second": 5, "burst": 10}')
        return structure(value, RateLimit)

    def schema(self) -> dict[str, Any]:
        return object_schema(RateLimit)


_FOUR: Final = "[A-Za-z0-9+/]{4}"
_WHSEC: Final = Text(
    rf"whsec_(?:{_FOUR}){{8,20}}(?:[A-Za-z0-9+/]{{3}}=|(?:{_FOUR})?(?:[A-Za-z0-9+/]{{2}}==)?)",
    "whsec_ followed by 24 to 64 bytes in base64",
)


@frozen
class _SigningSecret:
    """``whsec_`` and a key of 24 to 64 bytes in base64."""

    def accept(self, value: object) -> str:
        try:
            if isinstance(value, str) and 24 <= len(b64decode(value[6:], validate=True)) <= 64:
                return _WHSEC.accept(value)
        except ValueError:
            pass  # told below, without a word of the value
        raise ValueError(f"must be {_WHSEC.meaning}")

    def schema(self) -> dict[str, Any]:
        return _WHSEC.schema()


Retention: TypeAlias = tuple[float, float, int]


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
    destination_concurrency: Annotated[int | None, Optional(Integer(1, 10_000))] = None
    """Attempts in flight per destination (scheme, host, port); None is "no limit but concurrency"."""
    rate_limit: Annotated[RateLimit | None, Optional(_Rate())] = field(default=None, converter=given)
    paused: Annotated[bool, Flag()] = False
    retention_completed: Annotated[float, Number(0, 31_536_000)] = 86_400
    retention_failed: Annotated[float, Number(0, 31_536_000)] = 1_209_600
    retention_max_tasks: Annotated[int, Integer(0, 1_000_000_000)] = 1_000_000
    """Finished tasks kept at most, whatever their age."""
    signing_secrets: Annotated[tuple[str, ...] | None, Optional(Items(_SigningSecret(), 1, 2))] = field(
        default=None, converter=given, repr=False
    )
    """One or two ``whsec_…`` that all sign; None: the service's."""

    def __attrs_post_init__(self) -> None:
        enforce(self)

    @property
    def retention(self) -> Retention:
        """All that says when a finished task goes."""
        return self.retention_completed, self.retention_failed, self.retention_max_tasks

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
