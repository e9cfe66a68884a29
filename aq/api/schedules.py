"""The routes of schedules. One whose tasks go to a queue that is none of the key's is not there for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import trio
from attrs import frozen
from quart import Response, request
from quart_trio import QuartTrio

from aq.api import views
from aq.api.auth import environment, may_see, require_queue
from aq.api.body import JsonObject, read_object
from aq.api.openapi.operation import NO_CONTENT, Header, Tag, created, ok, operation, replayed
from aq.api.query import expect_nothing, no_parameters
from aq.api.requests import idempotency_key
from aq.documents import HIDDEN
from aq.engine import Engine
from aq.errors import NotFoundError
from aq.instants import Instant, to_rfc3339
from aq.schedule import Schedule, last_run_at, queue_of
from aq.task import MAX_PAYLOAD_NESTING, JsonText, nesting

_STRIDE: Final = 10
"""Schedules worked out before the loop gets its turn."""


@frozen
class ScheduleRoutes:
    """``/v1/schedules``."""

    engine: Engine

    def mount(self, app: QuartTrio) -> None:
        one = "/v1/schedules/<schedule_id>"
        app.add_url_rule("/v1/schedules", "create_schedule", self.create, methods=["POST"])
        app.add_url_rule("/v1/schedules", "list_schedules", self.list, methods=["GET"])
        app.add_url_rule(one, "get_schedule", self.get, methods=["GET"])
        app.add_url_rule(one, "update_schedule", self.update, methods=["PATCH"])
        app.add_url_rule(one, "delete_schedule", self.delete, methods=["DELETE"])
        app.add_url_rule(one + "/pause", "pause_schedule", self.pause, methods=["POST"])
        app.add_url_rule(one + "/resume", "resume_schedule", self.resume, methods=["POST"])
        app.add_url_rule(one + "/run", "run_schedule", self.run, methods=["POST"])

    @operation(
        Tag.SCHEDULES,
        "Create a schedule",
        created("Schedule", "It is on disk."),
        replayed("Schedule"),
        body="NewSchedule",
        headers=(Header.IDEMPOTENCY_KEY,),
        problems=(409,),
    )
    async def create(self) -> Response:
        """A task is made at each time of ``cron`` in ``timezone``, or each ``every`` seconds, from now on."""
        no_parameters()
        fields = _fields(await read_object())
        _require_queue_of(fields.get("task"))
        done = await self.engine.schedules.make(
            fields, environment=environment(), idempotency_key=idempotency_key(request.headers)
        )
        location = f"/v1/schedules/{done.value.id}"
        return views.answer(view_of(self.engine, done.value), 201, location=location, replayed=done.replayed)

    @operation(Tag.SCHEDULES, "List schedules", ok("Schedules", "All that the key may see."))
    async def list(self) -> Response:
        """In the order of creation, with tasks as they were given but for their payloads."""
        no_parameters()
        shown = []
        for number, schedule in enumerate(await self.engine.schedules.list(environment=environment())):
            if number % _STRIDE == 0:
                await trio.lowlevel.checkpoint()
            if may_see(queue_of(schedule)):
                shown.append(view_of(self.engine, schedule, payload=False))
        return views.answer({"schedules": shown})

    @operation(Tag.SCHEDULES, "Read a schedule", ok("Schedule", "The schedule."))
    async def get(self, schedule_id: str) -> Response:
        """With the next times to come."""
        no_parameters()
        return views.answer(view_of(self.engine, await self._visible(schedule_id)))

    @operation(
        Tag.SCHEDULES,
        "Change a schedule",
        ok("Schedule", "The schedule as it is now."),
        body="ScheduleChange",
        problems=(409,),
    )
    async def update(self, schedule_id: str) -> Response:
        """What is left out stays as it is. ``cron`` takes the place of ``every`` and the other way round."""
        no_parameters()
        fields = _fields(await read_object())
        schedule = await self._visible(schedule_id)
        _require_queue_of(fields.get("task"))
        return views.answer(
            view_of(
                self.engine,
                await self.engine.schedules.change(schedule.id, fields, environment=environment()),
            )
        )

    @operation(Tag.SCHEDULES, "Delete a schedule", NO_CONTENT)
    async def delete(self, schedule_id: str) -> Response:
        """It makes no more tasks; those it made stay."""
        await expect_nothing()
        schedule = await self._visible(schedule_id)
        await self.engine.schedules.delete(schedule.id, environment=environment())
        return views.nothing()

    @operation(Tag.SCHEDULES, "Pause a schedule", ok("Schedule", "The schedule as it is now."))
    async def pause(self, schedule_id: str) -> Response:
        """Its times pass, and no task is made."""
        await expect_nothing()
        schedule = await self._visible(schedule_id)
        return views.answer(
            view_of(self.engine, await self.engine.schedules.pause(schedule.id, environment=environment()))
        )

    @operation(Tag.SCHEDULES, "Resume a schedule", ok("Schedule", "The schedule as it is now."))
    async def resume(self, schedule_id: str) -> Response:
        """What passed meanwhile is not made up for."""
        await expect_nothing()
        schedule = await self._visible(schedule_id)
        return views.answer(
            view_of(self.engine, await self.engine.schedules.resume(schedule.id, environment=environment()))
        )

    @operation(
        Tag.SCHEDULES,
        "Run a schedule's task now",
        created("Task", "The task that was made."),
        replayed("Task"),
        headers=(Header.IDEMPOTENCY_KEY,),
        problems=(409,),
    )
    async def run(self, schedule_id: str) -> Response:
        """Beside its times, also while it is paused."""
        await expect_nothing()
        done = await self.engine.schedules.run_once(
            schedule_id,
            environment=environment(),
            idempotency_key=idempotency_key(request.headers),
            sees=may_see,
        )
        task = done.value
        body = views.task(task, await self.engine.queues.policy(task.queue))
        return views.answer(body, 201, location=f"/v1/tasks/{task.id}", replayed=done.replayed)

    async def _visible(self, schedule_id: str) -> Schedule:
        schedule = await self.engine.schedules.get(schedule_id, environment=environment())
        if not may_see(queue_of(schedule)):
            raise NotFoundError("there is no such schedule")
        return schedule


def view_of(engine: Engine, schedule: Schedule, *, payload: bool = True) -> dict[str, Any]:
    """A schedule's document, with the next times to come."""
    return {
        "id": schedule.id,
        "cron": schedule.cron,
        "every": schedule.every,
        "timezone": schedule.timezone,
        "task": _task(schedule, payload=payload),
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        "paused": schedule.paused,
        "created_at": to_rfc3339(schedule.created_at),
        "last_run_at": _instant(last_run_at(schedule)),
        "last_task_id": schedule.last_task_id,
        "next_runs": [to_rfc3339(slot) for slot in engine.schedules.next_runs(schedule)],
    }


def _fields(body: JsonObject) -> dict[str, Any]:
    """The members, the payload of the task as its own text where it may pass."""
    task = body.values.get("task")
    if not isinstance(task, dict):
        return body.values
    payload = task.get("payload")
    if not isinstance(payload, dict) or nesting(payload) > MAX_PAYLOAD_NESTING:
        return body.values
    text = msgspec.json.decode(body.text_of("task"), type=dict[str, msgspec.Raw])["payload"]
    return {**body.values, "task": {**task, "payload": JsonText(bytes(text))}}


def _require_queue_of(task: object) -> None:
    """Raises ForbiddenError for a task of a queue that is none of the key's."""
    if isinstance(task, Mapping) and isinstance(task.get("queue"), str):
        require_queue(task["queue"])


def _task(schedule: Schedule, *, payload: bool) -> dict[str, Any]:
    """Its fields as they were given; headers may be secrets, so only their names are told."""
    members: dict[str, Any] = msgspec.json.decode(schedule.task.encode(), type=dict[str, msgspec.Raw])
    if "headers" in members:
        members["headers"] = dict.fromkeys(msgspec.json.decode(members["headers"]), HIDDEN)
    if not payload:
        members.pop("payload", None)
    return members


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else to_rfc3339(instant)
