"""``GET /v1/stats``: how much happened lately, and how late attempts started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import trio
from attrs import frozen
from quart import Response
from quart_trio import QuartTrio

from aq.actors.meter import WINDOWS, Point, Series
from aq.api import views
from aq.api.auth import grant
from aq.api.events import visible_queues
from aq.api.openapi.operation import Tag, ok, operation
from aq.api.query import parameters
from aq.engine import Engine
from aq.instants import to_rfc3339
from aq.rules import QUEUE_NAME, Rule, Text

QUERY: Final[Mapping[str, Rule]] = {
    "queue": QUEUE_NAME,
    "window": Text("|".join(map(str, WINDOWS)), f"one of {', '.join(map(str, WINDOWS))} (seconds)"),
}


@frozen
class StatsRoutes:
    """``/v1/stats``."""

    engine: Engine

    def mount(self, app: QuartTrio) -> None:
        app.add_url_rule("/v1/stats", "stats", self.stats, methods=["GET"])

    @operation(Tag.EVENTS, "Read statistics", ok("Stats", "The series."), query=QUERY)
    async def stats(self) -> Response:
        """Of ``queue``, or of all queues that the key may see together; ``window`` and ``step`` in seconds.

        A queue without activity, unknown ones and those the key may not see among them, has zeros.
        """
        asked = parameters(QUERY)
        return views.answer(await series(self.engine, asked.get("queue"), int(asked.get("window", "900"))))


async def series(engine: Engine, queue: str | None, window: int) -> dict[str, Any]:
    """The answer, for the key of this request."""
    asking, found = grant(), Series(window, engine.clock.now())
    for ring in engine.meter.rings(asking.environment, visible_queues(asking, queue)):
        found.add(ring)
        await trio.lowlevel.checkpoint()
    return {
        "window": window,
        "step": WINDOWS[window],
        "queue": queue,
        "series": [_point(point) for point in found.points()],
    }


def _point(point: Point) -> dict[str, Any]:
    late = point.lateness_ms
    return {
        "at": to_rfc3339(point.at),
        **point.tally._asdict(),
        "lateness_ms": None if late is None else late._asdict(),
    }
