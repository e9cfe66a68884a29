"""The first page: is all on time, how much happens, and what needs somebody's eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen
from quart import Blueprint, Response, g, request

from aq.api import views
from aq.api.auth import check_queue, grant
from aq.api.query import parameters
from aq.api.stats import QUERY, series
from aq.dashboard.live import Queues, Standing
from aq.dashboard.shell import done, page
from aq.dashboard.words import span
from aq.engine import Engine
from aq.instants import to_rfc3339
from aq.queues import QueueView
from aq.storage.answers import TaskFilter
from aq.task import NewTask, Status

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
        worst = _worst(queues)
        return page(
            "overview.html",
            window=int(asked.get("window", "900")),
            windows=WINDOWS,
            queues=[views.queue(view) for view in worst],
            sparks={
                view.queue.key.name: self.queues.spark(grant().environment, view.queue.key.name)
                for view in worst
            },
            number=len(queues),
            verdict=_verdict(queues),
            standing=Standing.of(queues),
            problems=[*self.engine.problems(), *(f"queue {name} is quarantined" for name in self._ailing())],
            failed=sum(point["failed"] for point in hour["series"]),
            rates=rates,
            failures=await self._failures(),
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

    async def _failures(self) -> Sequence[Mapping[str, Any]]:
        """The newest tasks that failed: a page of a list that the counters bound."""
        which = TaskFilter(grant().environment, grant().queues, Status.FAILED)
        found = await self.engine.find(which, limit=WORST)
        return [
            {
                "id": task.id,
                "queue": task.queue.name,
                "destination": task.destination,
                "error_type": task.error_type,
                "failed_at": None if task.finished_at is None else to_rfc3339(task.finished_at),
            }
            for task in found.tasks
        ]

    def _ailing(self) -> Sequence[str]:
        return self.engine.quarantined if grant().queues is None else ()


def _worst(queues: Sequence[QueueView]) -> Sequence[QueueView]:
    """Those that most deserve a look: the latest first, then the busiest."""

    def weight(view: QueueView) -> tuple[float, int, int]:
        counts = view.queue.counts
        return Standing.of([view]).late, counts.active + counts.pending, counts.total

    return sorted(queues, key=weight, reverse=True)[:WORST]


def _verdict(queues: Sequence[QueueView]) -> tuple[str, str]:
    """Two sentences: how it stands, and why."""
    late = [view for view in _worst(queues) if Standing.of([view]).late > LATE_SECONDS]
    if not late:
        return "Every queue is on time" if queues else "Nothing to do yet", _count_of(queues)
    view, standing = late[0], Standing.of(late[:1])
    more = sum(Standing.of([other]).late > LATE_SECONDS for other in queues) - 1
    others = f", and {more} more" if more else ""
    return f"{view.queue.key.name} is {span(standing.late)} late{others}", _why(view, standing)


def _why(view: QueueView, standing: Standing) -> str:
    """What keeps the tasks of a late queue, as far as its counters tell."""
    policy, due = view.queue.policy, "1 task is" if standing.due == 1 else f"{standing.due:,} tasks are"
    if standing.in_flight >= policy.concurrency:
        return f"{due} due there, and all {policy.concurrency:,} of its slots are taken."
    if policy.rate_limit is not None:
        return f"{due} due there, and it starts at most {policy.rate_limit.per_second:g} a second."
    return f"{due} due there; “explain” on the page of one says what it waits for."


def _count_of(queues: Sequence[QueueView]) -> str:
    paused = sum(view.queue.policy.paused for view in queues)
    told = "1 queue" if len(queues) == 1 else f"{len(queues):,} queues"
    return f"{told}, {paused:,} of them paused" if paused else told
