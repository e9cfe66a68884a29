"""The routes of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen
from quart import Response
from quart_trio import QuartTrio

from aq.api import views
from aq.api.body import JsonObject, read_object
from aq.api.query import no_parameters, parameters
from aq.api.requests import traceparent
from aq.engine import Engine
from aq.policy import QueuePolicy
from aq.rules import QUEUE_NAME, Integer, OneOf, Rule, structure
from aq.task import MAX_PAYLOAD_NESTING, JsonText, NewTask, QueueKey, Status, nesting

_LIST: Final[Mapping[str, Rule]] = {
    "queue": QUEUE_NAME,
    "status": OneOf(Status),
    "limit": Integer(1, 100),
    "offset": Integer(0, 10_000),
}


@frozen
class TaskRoutes:
    """``/v1/tasks``."""

    engine: Engine

    def mount(self, app: QuartTrio) -> None:
        one = "/v1/tasks/<task_id>"
        app.add_url_rule("/v1/tasks", "create_task", self.create, methods=["POST"])
        app.add_url_rule("/v1/tasks", "list_tasks", self.list, methods=["GET"])
        app.add_url_rule(one, "get_task", self.get, methods=["GET"])
        app.add_url_rule(one, "delete_task", self.delete, methods=["DELETE"])

    async def create(self) -> Response:
        no_parameters()
        new = structure(_fields(await read_object()), NewTask)
        task = await self.engine.submit(new, traceparent=traceparent())
        policy = await self.engine.queues.policy(task.queue)
        return views.answer(views.task(task, policy), 201, location=f"/v1/tasks/{task.id}")

    async def list(self) -> Response:
        asked = {"queue": None, "status": None, "limit": 20, "offset": 0, **parameters(_LIST)}
        page = await self.engine.list(**asked)
        policies = await self._policies(task.queue for task in page.tasks)
        limit, offset = asked["limit"], asked["offset"]
        return views.answer(
            {
                "tasks": [views.task(task, policies[task.queue]) for task in page.tasks],
                "pagination": {
                    "total": page.total,
                    "limit": limit,
                    "offset": offset,
                    "has_more": offset + len(page.tasks) < page.total,
                },
            }
        )

    async def get(self, task_id: str) -> Response:
        no_parameters()
        return views.answer(views.whole_task(await self.engine.get(task_id)))

    async def delete(self, task_id: str) -> Response:
        no_parameters()
        await self.engine.delete(task_id)
        return Response(b"", status=204)

    async def _policies(self, queues: Iterable[QueueKey]) -> Mapping[QueueKey, QueuePolicy]:
        return {key: await self.engine.queues.policy(key) for key in dict.fromkeys(queues)}


def _fields(body: JsonObject) -> dict[str, Any]:
    """The members, with a payload that may pass as its own text; the rule refuses any other."""
    payload = body.values.get("payload")
    if isinstance(payload, dict) and nesting(payload) <= MAX_PAYLOAD_NESTING:
        return {**body.values, "payload": JsonText(body.text_of("payload"))}
    return body.values
