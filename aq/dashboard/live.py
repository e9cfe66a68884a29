"""What moves: one stream of numbers for each window that is looked at, and the series behind the plots.

The stream is fed by the meter, which is memory, once a second, and by the queues' counters, which are read
every two seconds for all streams of an environment together. Tasks are never looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from math import inf
from typing import Any, Final

import trio
from attrs import define, field, frozen
from quart import Blueprint, Response, request

from aq.actors.feed import FeedEvent, Reader
from aq.actors.meter import WINDOWS
from aq.api import stats, views
from aq.api.auth import grant
from aq.api.events import STREAM_HEADERS, Gauge, told
from aq.api.query import parameters
from aq.dashboard.sessions import Session, Sessions
from aq.dashboard.shell import session
from aq.engine import Engine
from aq.errors import OverloadedError
from aq.instants import SECOND, Instant
from aq.keys import Grant
from aq.queues import QueueView
from aq.task import Environment

MAX_STREAMS: Final = 200
STANDING_SECONDS: Final = 2
_SPARK_STEP: Final = 30 * SECOND
_SPARK_POINTS: Final = 30
_NOBODY: Final = "the dashboard"
"""No task has this id: who listens to it wakes at the end of the feed only."""


@frozen
class Standing:
    """How the queues that a key may see stand together. ``late`` is in seconds."""

    late: float
    late_queue: str | None
    due: int
    in_flight: int

    @classmethod
    def of(cls, queues: Sequence[QueueView]) -> Standing:
        lateness = {it.queue.key.name: _late(it) for it in queues}
        worst = max(lateness, key=lambda name: lateness[name], default=None)
        return cls(
            late=0.0 if worst is None else lateness[worst],
            late_queue=worst,
            due=sum(max(0, it.queue.counts.pending - it.backlog.scheduled) for it in queues),
            in_flight=sum(it.queue.counts.active for it in queues),
        )


@define
class Queues:
    """The queues of each environment with their counters, read anew for pages, and every two seconds else."""

    _engine: Engine
    _read: dict[Environment, tuple[Instant, Sequence[QueueView]]] = field(factory=dict, init=False)

    async def now(self, grant: Grant) -> Sequence[QueueView]:
        """Those that the key may see, by name, as they are: for a page."""
        environment = grant.environment
        found = [view async for view in self._engine.queues.views(environment=environment)]
        self._read[environment] = self._engine.clock.now(), found
        return _seen(grant, found)

    def spark(self, environment: Environment, name: str) -> Sequence[int]:
        """How many tasks of a queue ended in each half minute of the last 15 minutes, oldest first."""
        now = self._engine.clock.now()
        ended, begun = [0] * _SPARK_POINTS, now - now % _SPARK_STEP - (_SPARK_POINTS - 1) * _SPARK_STEP
        for ring in self._engine.meter.rings(environment, (name,)):
            for start, tally, _ in ring.steps():
                if start >= begun:
                    ended[(start - begun) // _SPARK_STEP] += tally.completed + tally.failed
        return ended

    async def lately(self, grant: Grant) -> Sequence[QueueView]:
        """The same, as they were at most two seconds ago: for what asks all the time."""
        at, found = self._read.get(grant.environment, (None, ()))
        if at is None or self._engine.clock.now() - at >= STANDING_SECONDS * SECOND:
            return await self.now(grant)
        return _seen(grant, found)


@define(eq=False)
class LiveRoutes:
    """``/live`` and ``/series``."""

    engine: Engine
    sessions: Sessions
    queues: Queues
    _open: int = field(default=0, init=False)

    def mount(self, blueprint: Blueprint) -> None:
        blueprint.add_url_rule("/live", "live", self.live, methods=["GET"])
        blueprint.add_url_rule("/series", "series", self.series, methods=["GET"])

    async def series(self) -> Response:
        """As ``GET /v1/stats``."""
        asked = parameters(stats.QUERY)
        return views.answer(
            await stats.series(self.engine, asked.get("queue"), int(asked.get("window", min(WINDOWS))))
        )

    async def live(self) -> Response:
        """Once a second what the API's stream says on ``?stats=1``, and how the queues stand.

        With ``?task=ID`` also ``task``, as soon as something has happened to it.
        """
        if request.method == "HEAD":
            return Response(b"", headers=STREAM_HEADERS)
        if self._open >= MAX_STREAMS:
            raise OverloadedError(f"{MAX_STREAMS} windows are open; try again later", retry_after=10)
        task = request.args.get("task", _NOBODY)
        response = Response(self._numbers(session(), grant(), task), headers=STREAM_HEADERS)
        response.timeout = None
        return response

    async def _numbers(self, signed_in: Session, asking: Grant, task: str) -> AsyncIterator[bytes]:
        """Until the browser leaves, the session ends or the service does."""
        self._open += 1
        try:
            gauge, due = Gauge(self.engine, asking, None), -inf
            news, fresh = self._news(asking, task), task != _NOBODY
            while self.sessions.holds(signed_in) and not self.engine.feed.closed:
                if fresh:  # at first too: something may have happened since the page was made
                    yield told("task", {"task_id": task})
                if trio.current_time() >= due:
                    yield told("stats", {**gauge.read(), **await self._standing(asking)})
                    due = gauge.due
                with trio.move_on_at(due):
                    await news.wait()
                fresh = bool(news.take())
                if news.over:  # too much happened meanwhile to look at each
                    news = self._news(asking, task)
            yield told("end", {"detail": "the session or the service has ended"})
        finally:
            self._open -= 1

    def _news(self, asking: Grant, task: str) -> Reader:
        """What happens to a task from now on, if the key may see it."""
        environment = asking.environment

        def accepts(event: FeedEvent) -> bool:
            key = event.queue
            return event.task_id == task and key.environment is environment and asking.allows_queue(key.name)

        return self.engine.feed.read(accepts, about=task)

    async def _standing(self, asking: Grant) -> dict[str, Any]:
        standing = Standing.of(await self.queues.lately(asking))
        return {
            "late": round(standing.late, 3),
            "late_queue": standing.late_queue,
            "due": standing.due,
            "in_flight": standing.in_flight,
        }


def _seen(grant: Grant, found: Sequence[QueueView]) -> Sequence[QueueView]:
    return [view for view in found if grant.allows_queue(view.queue.key.name)]


def _late(view: QueueView) -> float:
    oldest = view.backlog.oldest_due_at
    return 0.0 if oldest is None or view.queue.policy.paused else max(0, view.at - oldest) / SECOND
