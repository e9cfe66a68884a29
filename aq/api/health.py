"""Is it alive, is it ready: asked by supervisors and load balancers, without a key."""

from __future__ import annotations

from attrs import frozen
from quart import Response
from quart_trio import QuartTrio

from aq.api import views
from aq.api.query import no_parameters
from aq.engine import Engine


@frozen
class HealthRoutes:
    """``/healthz`` and ``/readyz``."""

    engine: Engine

    def mount(self, app: QuartTrio) -> None:
        app.add_url_rule("/healthz", "healthz", self.healthz, methods=["GET"])
        app.add_url_rule("/readyz", "readyz", self.readyz, methods=["GET"])

    async def healthz(self) -> Response:
        """200 while the process answers at all: anything else is a reason to restart it."""
        no_parameters()
        return views.answer({"status": "ok"})

    async def readyz(self) -> Response:
        """200 while new work is taken, else 503 with the reasons."""
        no_parameters()
        problems = list(self.engine.problems())
        if self.engine.draining:
            problems.insert(0, "the service is shutting down")
        if problems:
            return views.answer({"status": "not ready", "problems": problems}, 503)
        return views.answer({"status": "ready", "problems": []})
