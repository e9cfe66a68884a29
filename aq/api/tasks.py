"""The routes of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen
from quart import Response, request
from quart_trio import QuartTrio

from aq.api import creation, views
from aq.api.auth import environment, grant, may_see, patience
from aq.api.body import read_object
from aq.api.creation import Creator
from aq.api.openapi.operation import NO_CONTENT, Header, Tag, created, ok, operation, replayed
from aq.api.paging import Offset, cursor_after, read_cursor
from aq.api.query import expect_nothing, no_parameters, parameters
from aq.api.requests import idempotency_key
from aq.engine import Engine, TaskView
from aq.errors import DrainingError, FieldError, NotFoundError, ValidationError
from aq.instants import from_datetime
from aq.outcome import ErrorType
from aq.policy import QueuePolicy
from aq.rules import PLAIN, QUEUE_NAME, Integer, Moment, Number, OneOf, Rule, Text
from aq.storage.answers import TaskFilter
from aq.task import (
    DESTINATION,
    TAG,
    QueueKey,
    Status,
)

FILTERS: Final[Mapping[str, Rule]] = {
    "queue": QUEUE_NAME,
    "status": OneOf(Status),
    "tag": TAG,
    "error_type": OneOf(ErrorType),
    "destination": DESTINATION,
    "created_after": Moment(),
    "created_before": Moment(),
}
PAGE: Final[Mapping[str, Rule]] = {
    "limit": Integer(1, 100),
    "offset": Offset(0, 10_000),
    "cursor": Text(rf"{PLAIN}{{1,200}}", "a next_cursor"),
}
WAIT: Final[Mapping[str, Rule]] = {"wait": Number(0, 60)}


@frozen
class TaskRoutes:
    """``/v1/tasks``."""

    engine: Engine

    def mount(self, app: QuartTrio) -> None:
        one = "/v1/tasks/<task_id>"
        app.add_url_rule("/v1/tasks", "create_task", self.create, methods=["POST"])
        app.add_url_rule("/v1/tasks/batch", "create_tasks", self.create_all, methods=["POST"])
        app.add_url_rule("/v1/tasks", "list_tasks", self.list, methods=["GET"])
        app.add_url_rule(one, "get_task", self.get, methods=["GET"])
        app.add_url_rule(one, "delete_task", self.delete, methods=["DELETE"])
        app.add_url_rule(one + "/retry", "retry_task", self.retry, methods=["POST"])
        app.add_url_rule(one + "/explain", "explain_task", self.explain, methods=["GET"])

    @operation(
        Tag.TASKS,
        "Create a task",
        created("Task", "It is on disk and will be delivered."),
        replayed("Task"),
        body="NewTask",
        headers=(Header.IDEMPOTENCY_KEY, Header.TRACEPARENT, Header.TRACESTATE),
        problems=(409,),
    )
    async def create(self) -> Response:
        """It is delivered to its ``webhook_url`` once it is due and its turn has come."""
        return await self._made(creation.one)

    @operation(
        Tag.TASKS,
        "Create many tasks",
        created("Tasks", "All of them are on disk and will be delivered.", located=False),
        replayed("Tasks", located=False),
        body="NewTasks",
        headers=(Header.IDEMPOTENCY_KEY, Header.TRACEPARENT, Header.TRACESTATE),
        problems=(409,),
    )
    async def create_all(self) -> Response:
        """Up to 1,000 at once, all or none, in one transaction. They may be of several queues."""
        return await self._made(creation.many)

    @operation(Tag.TASKS, "List tasks", ok("TaskPage", "A page."), query={**FILTERS, **PAGE})
    async def list(self) -> Response:
        """Newest first, without payloads and attempts. Pages follow each other by ``cursor``."""
        asked = parameters({**FILTERS, **PAGE})
        which = filter_of(asked)
        before = None
        if "cursor" in asked:
            if "offset" in asked:
                raise ValidationError([FieldError("offset", "must not be given together with cursor")])
            before = read_cursor(asked["cursor"], which)
        limit, offset = asked.get("limit", 20), asked.get("offset", 0)
        page = await self.engine.find(which, limit=limit, offset=offset, before=before)
        policies = await self._policies(task.queue for task in page.tasks)
        return views.answer(
            {
                "tasks": [views.task(task, policies[task.queue]) for task in page.tasks],
                "pagination": {
                    "total": page.total,
                    "limit": limit,
                    "offset": offset if before is None else None,
                    "has_more": page.more is not None,
                    "next_cursor": cursor_after(page.more, which),
                },
            }
        )

    @operation(Tag.TASKS, "Read a task", ok("WholeTask", "The task."), query=WAIT)
    async def get(self, task_id: str) -> Response:
        """With its payload and all attempts that have ended."""
        wait = parameters(WAIT).get("wait", 0)
        view = await self._visible(task_id)
        if wait and not view.task.status.final:
            with patience(wait):
                view = await self._ended(task_id)
            view = await self._visible(task_id)
        return views.answer(views.whole_task(view))

    @operation(Tag.TASKS, "Delete a pending task", NO_CONTENT, problems=(409,))
    async def delete(self, task_id: str) -> Response:
        """When this is answered, it will never be delivered."""
        await expect_nothing()
        await self._check(task_id)
        await self.engine.delete(task_id, environment=environment())
        return views.nothing()

    @operation(
        Tag.TASKS,
        "Retry a failed task",
        ok("Task", "It waits again.", headers=("Idempotent-Replay",)),
        headers=(Header.IDEMPOTENCY_KEY,),
        problems=(409,),
    )
    async def retry(self, task_id: str) -> Response:
        """It is due now: its history goes on, its allowance of retries is fresh."""
        await expect_nothing()
        done = await self.engine.retry(
            task_id, environment=environment(), idempotency_key=idempotency_key(request.headers), sees=may_see
        )
        return views.answer(views.receipt(done.value), replayed=done.replayed)

    @operation(Tag.TASKS, "Explain why a task waits", ok("Explanation", "What is in the way."))
    async def explain(self, task_id: str) -> Response:
        """What stands between a task and its next attempt, and when it would be retried."""
        no_parameters()
        await self._check(task_id)
        return views.answer(views.explained(await self.engine.explain(task_id, environment=environment())))

    async def _made(self, creator: Creator) -> Response:
        no_parameters()
        make = creator(self.engine, await read_object(), request.headers, grant())
        return (await make()).response()

    async def _visible(self, task_id: str) -> TaskView:
        view = await self.engine.get(task_id, environment=environment())
        if not may_see(view.task.queue.name):
            raise NotFoundError(f"there is no task {task_id}")
        return view

    async def _check(self, task_id: str) -> None:
        """A key for some queues does not see the tasks of others. Any other key needs no look."""
        if grant().queues is not None:
            await self._visible(task_id)

    async def _ended(self, task_id: str) -> TaskView:
        try:
            return await self.engine.wait(task_id, environment=environment())
        except DrainingError:  # the service ends first: the present state is the answer
            return await self._visible(task_id)

    async def _policies(self, queues: Iterable[QueueKey]) -> Mapping[QueueKey, QueuePolicy]:
        return {key: await self.engine.queues.policy(key) for key in dict.fromkeys(queues)}


def filter_of(asked: Mapping[str, Any]) -> TaskFilter:
    """What a list is of: never more than the request's key may see."""
    queues = grant().queues
    if "queue" in asked:
        queues = (asked["queue"],) if may_see(asked["queue"]) else ()
    given = {name: value for name, value in asked.items() if name in FILTERS and name != "queue"}
    for name in {"created_after", "created_before"} & given.keys():
        given[name] = from_datetime(given[name])
    return TaskFilter(environment(), queues, **given)
