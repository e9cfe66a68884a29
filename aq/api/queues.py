"""The routes of queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from attrs import frozen
from quart import Response
from quart_trio import QuartTrio

from aq.api import views
from aq.api.body import expect_no_body, read_object
from aq.api.query import checked, no_parameters
from aq.engine import Engine
from aq.errors import NotFoundError
from aq.policy import QueuePolicy
from aq.rules import QUEUE_NAME, Rule, rules_of

_POLICY: Final[Mapping[str, Rule]] = rules_of(QueuePolicy)


@frozen
class QueueRoutes:
    """``/v1/queues``."""

    engine: Engine

    def mount(self, app: QuartTrio) -> None:
        one = "/v1/queues/<name>"
        app.add_url_rule("/v1/queues", "create_queue", self.create, methods=["POST"])
        app.add_url_rule("/v1/queues", "list_queues", self.list, methods=["GET"])
        app.add_url_rule(one, "get_queue", self.get, methods=["GET"])
        app.add_url_rule(one, "update_queue", self.update, methods=["PATCH"])
        app.add_url_rule(one, "delete_queue", self.delete, methods=["DELETE"])
        app.add_url_rule(one + "/pause", "pause_queue", self.pause, methods=["POST"])
        app.add_url_rule(one + "/resume", "resume_queue", self.resume, methods=["POST"])

    async def create(self) -> Response:
        no_parameters()
        body = await read_object()
        fields = checked(body.values, {"name": QUEUE_NAME, **_POLICY}, required=("name",))
        queue = await self.engine.queues.create(fields.pop("name"), **fields)
        return views.answer(views.queue(queue), 201, location=f"/v1/queues/{quote(queue.key.name)}")

    async def list(self) -> Response:
        no_parameters()
        return views.answer({"queues": [views.queue(queue) for queue in await self.engine.queues.list()]})

    async def get(self, name: str) -> Response:
        no_parameters()
        return views.answer(views.queue(await self.engine.queues.get(_known(name))))

    async def update(self, name: str) -> Response:
        no_parameters()
        changes = checked((await read_object()).values, _POLICY)
        return views.answer(views.queue(await self.engine.queues.update(_known(name), **changes)))

    async def delete(self, name: str) -> Response:
        no_parameters()
        await self.engine.queues.delete(_known(name))
        return Response(b"", status=204)

    async def pause(self, name: str) -> Response:
        no_parameters()
        await expect_no_body()
        return views.answer(views.queue(await self.engine.queues.pause(_known(name))))

    async def resume(self, name: str) -> Response:
        no_parameters()
        await expect_no_body()
        return views.answer(views.queue(await self.engine.queues.resume(_known(name))))


def _known(name: str) -> str:
    """A name that a queue can have. Raises NotFoundError."""
    try:
        return QUEUE_NAME.accept(name)
    except ValueError:
        raise NotFoundError("there is no queue of that name") from None
