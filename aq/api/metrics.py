"""``GET /metrics``: what Prometheus asks for, without a key."""

from __future__ import annotations

from attrs import frozen
from quart import Response, request
from quart_trio import QuartTrio

from aq.api.openapi.operation import Answer, Tag, operation
from aq.api.problems import handle_errors
from aq.api.query import no_parameters
from aq.api.requests import identify_requests
from aq.engine import Engine
from aq.telemetry.metrics import exposition
from aq.telemetry.traffic import Traffic


@frozen
class MetricsRoutes:
    """``/metrics``."""

    engine: Engine
    traffic: Traffic

    def mount(self, app: QuartTrio) -> None:
        app.add_url_rule("/metrics", "metrics", self.metrics, methods=["GET"])

    @operation(
        Tag.SERVICE,
        "Read the metrics",
        Answer(200, "As text that Prometheus reads; OpenMetrics if asked for.", media="text/plain"),
    )
    async def metrics(self) -> Response:
        """Counts, gauges and histograms of the service; not there when they are served on a port apart."""
        no_parameters()
        text, media = await exposition(self.engine, self.traffic, accept=request.headers.get("Accept", ""))
        return Response(text, content_type=media)


def create_metrics_app(engine: Engine, traffic: Traffic) -> QuartTrio:
    """Nothing but the metrics, for a port of their own."""
    app = QuartTrio("aq.metrics", static_folder=None, template_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    identify_requests(app)
    handle_errors(app)
    MetricsRoutes(engine, traffic).mount(app)
    return app
