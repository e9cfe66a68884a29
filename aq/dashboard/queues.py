"""The queues: all of them, and one, with what can be done to it."""

from __future__ import annotations

from typing import Final

from attrs import frozen
from quart import Blueprint, Response, request

from aq.api import views
from aq.api.auth import environment, grant
from aq.api.queues import known_queue
from aq.dashboard.live import Queues
from aq.dashboard.shell import done, page
from aq.engine import Engine

_ONE: Final = "/queues/<name>"


@frozen
class QueuePages:
    """``/queues``."""

    engine: Engine
    queues: Queues

    def mount(self, blueprint: Blueprint) -> None:
        blueprint.add_url_rule("/queues", "queues", self.list, methods=["GET"])
        blueprint.add_url_rule(_ONE, "queue", self.one, methods=["GET"])
        blueprint.add_url_rule(f"{_ONE}/pause", "pause_queue", self.pause, methods=["POST"])
        blueprint.add_url_rule(f"{_ONE}/resume", "resume_queue", self.resume, methods=["POST"])

    async def list(self) -> Response:
        """The latest first."""
        found = [views.queue(view) for view in await self.queues.now(grant())]
        found.sort(key=lambda queue: (-queue["lateness"], queue["name"]))
        return page("queues.html", queues=found, host=request.host_url.rstrip("/"))

    async def one(self, name: str) -> Response:
        queue = await self.engine.queues.get(known_queue(name), environment=environment())
        return page("queue.html", queue=views.queue(await self.engine.queues.view(queue)))

    async def pause(self, name: str) -> Response:
        await self.engine.queues.pause(known_queue(name), environment=environment())
        return done(f"/queues/{name}", f"{name} is paused: running attempts finish, nothing more starts.")

    async def resume(self, name: str) -> Response:
        await self.engine.queues.resume(known_queue(name), environment=environment())
        return done(f"/queues/{name}", f"{name} goes on.")
