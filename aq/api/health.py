"""Is it alive, is it ready: asked by supervisors and load balancers, without a key."""

from __future__ import annotations

from typing import Final

from attrs import frozen
from quart import Response
from quart_trio import QuartTrio

from aq.api import views
from aq.api.openapi.operation import Answer, Tag, ok, operation
from aq.api.query import no_parameters
from aq.engine import Engine

TOLD_SECONDS: Final = 1
"""A wall clock that is further off than this is told."""


@frozen
class HealthRoutes:
    """``/healthz`` and ``/readyz``."""

    engine: Engine

    def mount(self, app: QuartTrio) -> None:
        app.add_url_rule("/healthz", "healthz", self.healthz, methods=["GET"])
        app.add_url_rule("/readyz", "readyz", self.readyz, methods=["GET"])

    @operation(Tag.SERVICE, "Is it alive", ok("Health", "It is."))
    async def healthz(self) -> Response:
        """200 while the process answers at all: anything else is a reason to restart it."""
        no_parameters()
        return views.answer({"status": "ok"})

    @operation(
        Tag.SERVICE,
        "Is it ready",
        ok("Readiness", "It takes new work."),
        Answer(503, "It takes no new work; `problems` says why.", "Readiness"),
    )
    async def readyz(self) -> Response:
        """200 while new work is taken, else 503 with the reasons.

        A quarantined queue is told, and keeps no other queue from its work: the answer stays 200. So it does
        when the wall clock has been set: what is due does not follow it.
        """
        no_parameters()
        odd = [f"queue {name} is quarantined" for name in self.engine.quarantined]
        ahead = self.engine.clock.wall_offset()
        if abs(ahead) > TOLD_SECONDS:
            odd.append(f"the wall clock is {ahead:+.1f} s off the service clock; restart to follow it")
        reasons = ["the service is shutting down"] if self.engine.draining else []
        reasons += self.engine.problems()
        if reasons:
            return views.answer({"status": "not ready", "problems": reasons + odd}, 503)
        return views.answer({"status": "degraded" if odd else "ready", "problems": odd})
