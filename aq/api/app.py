"""The Quart app, put together. The engine lives outside it; no route opens a nursery."""

from __future__ import annotations

import time
from collections.abc import Callable

from quart_trio import QuartTrio

from aq.api.apikeys import ApiKeyRoutes
from aq.api.auth import require_keys
from aq.api.docs import DocsRoutes
from aq.api.events import EventRoutes
from aq.api.framing import MAX_BODY_BYTES
from aq.api.health import HealthRoutes
from aq.api.limits import RateLimits
from aq.api.metrics import MetricsRoutes
from aq.api.problems import handle_errors
from aq.api.queues import QueueRoutes
from aq.api.receiver import ReceiverRoutes
from aq.api.requests import count_requests, identify_requests, take_paths_as_they_are
from aq.api.schedules import ScheduleRoutes
from aq.api.stats import StatsRoutes
from aq.api.tasks import TaskRoutes
from aq.engine import Engine
from aq.telemetry.traffic import Traffic

BODY_SECONDS = 30


def create_app(
    engine: Engine,
    *,
    limits: RateLimits | None = None,
    traffic: Traffic | None = None,
    metrics: bool = True,
    dev: bool = False,
    wall: Callable[[], float] = time.time,
) -> QuartTrio:
    """The HTTP API of a running engine. ``dev`` adds ``/dev/receiver``, which asks ``wall`` for the time.

    ``limits`` and ``traffic`` are given where a lane in front of the app counts with them too. ``metrics``
    are served here unless they have a port of their own.
    """
    app = QuartTrio("aq", static_folder=None, template_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["BODY_TIMEOUT"] = BODY_SECONDS
    app.url_map.merge_slashes = False
    traffic = traffic or Traffic()
    identify_requests(app)
    count_requests(app, traffic)
    require_keys(app, engine.keys, limits or RateLimits(engine.clock))
    take_paths_as_they_are(app)
    handle_errors(app)
    TaskRoutes(engine).mount(app)
    QueueRoutes(engine).mount(app)
    ApiKeyRoutes(engine).mount(app)
    ScheduleRoutes(engine).mount(app)
    EventRoutes(engine, traffic.streams).mount(app)
    StatsRoutes(engine).mount(app)
    HealthRoutes(engine).mount(app)
    DocsRoutes.of(app).mount(app)
    if metrics:
        MetricsRoutes(engine, traffic).mount(app)
    if dev:
        ReceiverRoutes(engine, wall).mount(app)
    return app
