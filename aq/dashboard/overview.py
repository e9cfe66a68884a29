"""The first page: is all on time, how much happens, and what needs somebody's eyes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen
from quart import Blueprint, Response, g, request

from aq.api import views
from aq.api.auth import check_queue, grant
from aq.api.query import parameters
from aq.api.stats import QUERY, series
from aq.dashboard.live import Queues, Standing
from aq.dashboard.shell import done, page
from aq.engine import Engine
from aq.queues import QueueView
from aq.task import NewTask

WINDOWS: Final = {900: "15 min", 3_600: "1 h", 86_400: "24 h"}
WORST: Final = 5
LATE_SECONDS: Final = 1.0
"""A queue whose oldest due task has waited for longer is told."""
TRY_QUEUE: Final = "hello"


@frozen
class OverviewPages:
    """``/``. With ``dev`` it offers a task that goes to the server's own receiver."""

    engine: Engine
    queues: Queues
    dev: bool

    def mount(self, blueprint: Blueprint) -> None:
        blueprint.add_url_rule("/", "overview", self.overview, methods=["GET"])
        if self.dev:
            blueprint.add_url_rule("/try", "try", self.send, methods=["POST"])

    async def overview(self) -> Response:
        asked = parameters({"window": QUERY["window"]})
        queues = await self.queues.now(grant())
        hour = await series(self.engine, None, 3_600)
        rates = self.engine.meter.rates_of(grant().environment, grant().queues, g.now)
        return page(
            "overview.html",
            window=int(asked.get("window", "900")),
            windows=WINDOWS,
            queues=[views.queue(view) for view in _worst(queues)],
            number=len(queues),
            verdict=_verdict(queues),
            standing=Standing.of(queues),
            problems=[*self.engine.problems(), *(f"queue {name} is quarantined" for name in self._ailing())],
            failed=sum(point["failed"] for point in hour["series"]),
            rates=rates,
            dev=self.dev,
            host=request.host_url.rstrip("/"),
        )

    async def send(self) -> Response:
        """A first task, to be seen arriving; ``status`` is what the receiver answers."""
        failing = (await request.form).get("status") == "500"
        check_queue(grant(), TRY_QUEUE)
        url = f"{request.host_url}dev/receiver" + ("?status=500" if failing else "")
        task = await self.engine.submit(
            NewTask(TRY_QUEUE, url, {"sent": "from the dashboard"}, max_retries=3),
            environment=grant().environment,
        )
        return done("/", f"Sent {task.id} to {url}.")

    def _ailing(self) -> Sequence[str]:
        return self.engine.quarantined if grant().queues is None else ()


def _worst(queues: Sequence[QueueView]) -> Sequence[QueueView]:
    """Those that most deserve a look: the latest first, then the busiest."""

    def weight(view: QueueView) -> tuple[float, int, int]:
        counts = view.queue.counts
        return Standing.of([view]).late, counts.active + counts.pending, counts.total

    return sorted(queues, key=weight, reverse=True)[:WORST]


def _verdict(queues: Sequence[QueueView]) -> str:
    """One sentence."""
    late = [view for view in queues if Standing.of([view]).late > LATE_SECONDS]
    paused = sum(view.queue.policy.paused for view in queues)
    if not late:
        rest = f", {paused} paused" if paused else ""
        return "Every queue is on time" + rest
    names = ", ".join(view.queue.key.name for view in _worst(late)[:3])
    more = f" and {len(late) - 3} more" if len(late) > 3 else ""
    return f"Late: {names}{more}"
