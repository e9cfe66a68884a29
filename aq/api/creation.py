"""The two requests that make tasks, from a body and headers to the answer: the same through every door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from aq.api import views
from aq.api.answer import Answer
from aq.api.auth import check_queue
from aq.api.body import JsonObject
from aq.api.requests import Headers, idempotency_key, trace_context
from aq.engine import Engine
from aq.errors import FieldError, Gathering, ValidationError, within
from aq.keys import Grant
from aq.rules import UNKNOWN
from aq.task import MAX_PAYLOAD_NESTING, JsonText, NewTask, nesting, read_task

MOST_IN_A_BATCH: Final = 1_000
Make: TypeAlias = Callable[[], Awaitable[Answer]]
"""Does what was asked, once. Raises what `Engine.accept` raises."""
Creator: TypeAlias = Callable[[Engine, JsonObject, Headers, Grant], Make]


def one(engine: Engine, body: JsonObject, headers: Headers, grant: Grant) -> Make:
    """A task. Nothing is done yet. Raises ValidationError naming every wrong field, ForbiddenError."""
    fields = _fields(body)
    wrong = Gathering()
    with wrong:
        key = idempotency_key(headers, fields.get("idempotency_key"))
        if key is not None and fields.get("idempotency_key") is None:
            fields = {**fields, "idempotency_key": key}
    new, errors = read_task(fields)
    if wrong.errors or errors:
        raise ValidationError([*wrong.errors, *errors, *engine.wrong_with(new)])
    check_queue(grant, new.queue)

    async def make() -> Answer:
        done = await engine.accept(new, environment=grant.environment, trace=trace_context(headers))
        location = f"/v1/tasks/{done.value.task.id}"
        return views.told(views.receipt(done.value), 201, location=location, replayed=done.replayed)

    return make


def many(engine: Engine, body: JsonObject, headers: Headers, grant: Grant) -> Make:
    """A batch of tasks; as `one`."""
    news, wrong = _batch(body)
    if wrong:
        raise ValidationError([*wrong, *engine.wrong_in(news)])
    for name in dict.fromkeys(new.queue for new in news):
        check_queue(grant, name)

    async def make() -> Answer:
        done = await engine.submit_all(
            news,
            environment=grant.environment,
            trace=trace_context(headers),
            idempotency_key=idempotency_key(headers),
        )
        tasks = [views.receipt(receipt) for receipt in done.value]
        return views.told({"tasks": tasks}, 201, replayed=done.replayed)

    return make


def _fields(body: JsonObject) -> Mapping[str, Any]:
    """The members, with a payload that may pass as its own text; the rule refuses any other."""
    payload = body.values.get("payload")
    if isinstance(payload, dict) and nesting(payload) <= MAX_PAYLOAD_NESTING:
        return {**body.values, "payload": JsonText(body.text_of("payload"))}
    return body.values


def _batch(body: JsonObject) -> tuple[list[NewTask], list[FieldError]]:
    """``{"tasks": […]}``, as `read_task` has it; fields are named as ``tasks[2].priority``."""
    wrong = [FieldError(name, UNKNOWN) for name in body.values if name != "tasks"]
    items = body.values.get("tasks")
    if not isinstance(items, list) or not 1 <= len(items) <= MOST_IN_A_BATCH:
        wrong.append(FieldError("tasks", f"must be a list of 1 to {MOST_IN_A_BATCH:,} tasks"))
        return [], wrong
    news = []
    for place, item in enumerate(body.objects("tasks")):
        is_object = isinstance(item.values, dict)
        new, errors = read_task(_fields(item) if is_object else {})
        news.append(new)
        if errors:
            why = ValidationError(errors) if is_object else ValueError("must be an object")
            wrong += within(f"tasks[{place}]", why)
    return news, wrong
