"""How many requests a key may make: its ``rate_limit_per_minute``, told in the headers of every answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from weakref import WeakKeyDictionary

from attrs import define, frozen

from aq.clock import ServiceClock
from aq.errors import UnavailableError
from aq.instants import SECOND, Instant
from aq.keys import Grant

WINDOW_SECONDS: Final = 60


class RateLimitedError(UnavailableError):
    """The key has made all the requests that it may make in this window."""

    status = 429
    title = "Too many requests"


@frozen
class Standing:
    """Where a key stands after a request. ``reset`` is in whole seconds, until the window ends."""

    limit: int
    remaining: int
    reset: int
    exceeded: bool

    @property
    def headers(self) -> Mapping[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }

    def check(self) -> None:
        """Raises RateLimitedError (429, Retry-After) when the request was one too many."""
        if self.exceeded:
            raise RateLimitedError(
                f"this key may make {self.limit:,} requests in {WINDOW_SECONDS} seconds; "
                f"the next is taken in {self.reset} s",
                retry_after=self.reset,
            )


@define
class _Window:
    ends_at: Instant
    used: int = 0


class RateLimits:
    """A fixed window for each key, from its first request on; in memory, on the service clock.

    There are never more windows than valid keys: one goes with its `Grant`.
    """

    def __init__(self, clock: ServiceClock) -> None:
        self._clock = clock
        self._windows: WeakKeyDictionary[Grant, _Window] = WeakKeyDictionary()

    def take(self, grant: Grant) -> Standing | None:
        """Count one request; None for a key without a limit."""
        limit = grant.rate_limit_per_minute
        if limit is None:
            return None
        now = self._clock.now()
        window = self._windows.get(grant)
        if window is None or now >= window.ends_at:
            window = self._windows[grant] = _Window(now + WINDOW_SECONDS * SECOND)
        exceeded = window.used >= limit
        window.used += not exceeded
        return Standing(limit, limit - window.used, -(-(window.ends_at - now) // SECOND), exceeded)
