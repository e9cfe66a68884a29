"""The dashboard, put together on the app of the API."""

from __future__ import annotations

from typing import Final

import msgspec
from attrs import define
from quart import Blueprint, Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from aq.api.auth import DASHBOARD
from aq.api.files import FOR_GOOD, File
from aq.api.limits import RateLimits
from aq.api.problems import answer_to
from aq.dashboard.assets import assets
from aq.dashboard.door import Door
from aq.dashboard.failures import FailurePages
from aq.dashboard.keys import KeyPages
from aq.dashboard.live import LiveRoutes, Queues
from aq.dashboard.overview import OverviewPages
from aq.dashboard.queues import QueuePages
from aq.dashboard.schedules import SchedulePages
from aq.dashboard.shell import HEADERS, page
from aq.dashboard.task import TaskPage
from aq.dashboard.tasks import TaskPages
from aq.engine import Engine
from aq.errors import AsyncQueueError, NotFoundError
from aq.keys import Grant

_FOR_A_DAY: Final = "public, max-age=86400"


@define
class Dashboard:
    """``dev`` shows what a development server has; ``once`` signs in a single time as ``once_grant`` says."""

    engine: Engine
    limits: RateLimits
    dev: bool = False
    once: str | None = None
    once_grant: Grant | None = None

    def mount(self, app: QuartTrio) -> None:
        blueprint = Blueprint(DASHBOARD, __name__)
        door = Door(self.engine, self.limits, self.once, self.once_grant)
        door.mount(blueprint)
        queues = Queues(self.engine)
        LiveRoutes(self.engine, door.sessions, queues).mount(blueprint)
        OverviewPages(self.engine, queues, dev=self.dev).mount(blueprint)
        QueuePages(self.engine, queues).mount(blueprint)
        TaskPages(self.engine, queues).mount(blueprint)
        TaskPage(self.engine).mount(blueprint)
        FailurePages(self.engine).mount(blueprint)
        SchedulePages(self.engine).mount(blueprint)
        KeyPages(self.engine).mount(blueprint)
        blueprint.add_url_rule("/assets/<digest>/<name>", "asset", _asset, methods=["GET"])
        blueprint.add_url_rule("/favicon.ico", "favicon", _favicon, methods=["GET"])
        for kind in (AsyncQueueError, HTTPException, Exception):
            blueprint.register_error_handler(kind, self._failed)
        app.register_blueprint(blueprint)

    async def _failed(self, error: Exception) -> Response:
        """The API's problem, told on a page, also of a request that did not come as far as the dashboard.

        What nobody expects is logged, under the request's id.
        """
        g.setdefault("now", self.engine.clock.now())
        answer = answer_to(error, g.request_id, request.method, request.path)
        told = page("problem.html", status=answer.status, problem=msgspec.json.decode(answer.body))
        told.headers.update({name: value for name, value in answer.headers.items() if name == "Retry-After"})
        return told


async def _asset(digest: str, name: str) -> Response:
    found = assets().get(name)
    if found is None or found.digest != digest:
        raise NotFoundError("there is nothing at this address")
    return _tagged(found, FOR_GOOD)


async def _favicon() -> Response:
    """For browsers that ask without looking at the page."""
    return _tagged(assets()["favicon.svg"], _FOR_A_DAY)


def _tagged(file: File, caching: str) -> Response:
    """304 where the browser has it already."""
    headers = {**HEADERS, "ETag": f'"{file.digest}"'}
    if file.digest in request.if_none_match:
        return Response(b"", status=304, headers={**headers, "Cache-Control": caching})
    return file.answer(caching, headers)
