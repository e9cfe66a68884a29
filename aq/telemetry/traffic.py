"""What came over HTTP, through whichever door, and what was answered: counted as it happens, and logged where
everything is. And how promptly the event loop turns that serves it.
"""

from __future__ import annotations

import logging
from typing import Final
from weakref import WeakSet

import trio
from attrs import define, field

from aq.totals import Histogram

logger = logging.getLogger(__name__)

REQUEST_US: Final = tuple(
    round(second * 1_000_000)
    for second in (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
)
WATCH_SECONDS: Final = 0.1
NO_ROUTE: Final = "_none"
"""The route of a request that met none; its method and path are the caller's, so neither is kept."""


@define(eq=False)
class Traffic:
    """Of one front. Routes are templates (``/v1/tasks/{task_id}``), so there are only so many of them."""

    answers: dict[tuple[str, str, int], int] = field(factory=dict)
    """How many, by method, route and status."""
    took_us: dict[tuple[str, str], Histogram] = field(factory=dict)
    """Until the head of the answer was there, by method and route."""
    refusals: dict[int, int] = field(factory=dict)
    """What never became a request: too slow, too large, malformed or too much at once; by status."""
    lag_us: Histogram = field(factory=lambda: Histogram.of(REQUEST_US))
    """How much later than asked for the event loop woke whoever `watch_loop` is."""
    connections: int = 0
    streams: WeakSet[object] = field(factory=lambda: WeakSet[object]())
    """Event streams that are open. Weak: one that was never begun is not counted."""

    def answered(
        self, method: str, route: str | None, status: int, seconds: float, request_id: str, key_id: str | None
    ) -> None:
        """A request has its answer."""
        where = (method, route) if route is not None else (NO_ROUTE, NO_ROUTE)
        answer = (*where, status)
        self.answers[answer] = self.answers.get(answer, 0) + 1
        took = self.took_us.get(where)
        if took is None:
            took = self.took_us[where] = Histogram.of(REQUEST_US)
        took.add(round(seconds * 1_000_000))
        if logger.isEnabledFor(logging.DEBUG):
            told = {"method": where[0], "route": where[1], "status": status, "duration_ms": seconds * 1_000}
            logger.debug("a request", extra={**told, "request_id": request_id, "key_id": key_id})

    def refused(self, status: int) -> None:
        self.refusals[status] = self.refusals.get(status, 0) + 1

    def copy(self) -> Traffic:
        """As it is at this moment."""
        return Traffic(
            answers=self.answers.copy(),
            took_us={where: took.copy() for where, took in self.took_us.items()},
            refusals=self.refusals.copy(),
            lag_us=self.lag_us.copy(),
            connections=self.connections,
            streams=self.streams.copy(),
        )


async def watch_loop(traffic: Traffic) -> None:
    """Ten times a second: how late is a task woken that nothing but the loop keeps waiting?"""
    while True:
        due = trio.current_time() + WATCH_SECONDS
        await trio.sleep_until(due)
        traffic.lag_us.add(round((trio.current_time() - due) * 1_000_000))
