"""Schedules: when each fires, in words and in instants, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final
from zoneinfo import available_timezones

import msgspec
from attrs import frozen
from quart import Blueprint, Response, g, request

from aq.api.auth import check_queue, environment, grant, may_see
from aq.api.schedules import view_of
from aq.dashboard.rhythm import cron_in_words, every_in_words, local
from aq.dashboard.schedule_form import FIELDS, asked_for, by_field, filled_in
from aq.dashboard.shell import done, page
from aq.engine import Engine
from aq.errors import NotFoundError, ValidationError
from aq.instants import Instant, to_rfc3339
from aq.schedule import Schedule, queue_of
from aq.schedules import SHOWN_RUNS
from aq.slots import check_cron, check_timezone, cron_slots

_ONE: Final = "/schedules/<schedule_id>"


@frozen
class SchedulePages:
    """``/schedules``."""

    engine: Engine

    def mount(self, blueprint: Blueprint) -> None:
        add = blueprint.add_url_rule
        add("/schedules", "schedules", self.list, methods=["GET"])
        add("/schedules/new", "new_schedule", self.new, methods=["GET"])
        add("/schedules/new", "create_schedule", self.create, methods=["POST"])
        add("/schedules/times", "schedule_times", self.times, methods=["GET"])
        add(_ONE, "schedule", self.one, methods=["GET"])
        add(f"{_ONE}/edit", "edit_schedule", self.edit, methods=["GET"])
        add(f"{_ONE}/edit", "change_schedule", self.change, methods=["POST"])
        add(f"{_ONE}/delete", "ask_to_delete_schedule", self.ask_to_delete, methods=["GET"])
        for name in ("pause", "resume", "run", "delete"):
            add(f"{_ONE}/{name}", f"{name}_schedule", getattr(self, name), methods=["POST"])

    # -- pages ----------------------------------------------------------------------------------------------
    async def list(self) -> Response:
        found = await self.engine.schedules.list(environment=environment())
        shown = [self._shown(schedule) for schedule in found if may_see(queue_of(schedule))]
        return page("schedules.html", schedules=shown, host=request.host_url.rstrip("/"))

    async def one(self, schedule_id: str) -> Response:
        schedule = await self._visible(schedule_id)
        return page("schedule.html", schedule=self._shown(schedule))

    async def new(self) -> Response:
        return self._form({}, {})

    async def edit(self, schedule_id: str) -> Response:
        schedule = await self._visible(schedule_id)
        return self._form(filled_in(schedule), {}, schedule=self._shown(schedule))

    async def times(self) -> Response:
        """While somebody writes: what the rhythm means, and its next times."""
        cron, timezone = request.args.get("cron", "").strip(), request.args.get("timezone", "").strip()
        wrong = None
        try:
            check_timezone(timezone or "UTC")
            check_cron(cron)
        except ValueError as error:
            wrong = str(error)
        times = [] if wrong else _times(cron, timezone or "UTC", g.now)
        return page(
            "schedule_times.html",
            words=None if wrong else cron_in_words(cron),
            times=times,
            wrong=wrong if cron else None,
            zone=timezone or "UTC",
        )

    async def ask_to_delete(self, schedule_id: str) -> Response:
        return page("schedule_delete.html", schedule=self._shown(await self._visible(schedule_id)))

    # -- actions --------------------------------------------------------------------------------------------
    async def create(self) -> Response:
        form = (await request.form).to_dict()
        try:
            fields = asked_for(form)
            check_queue(grant(), fields["task"]["queue"])
            made = (await self.engine.schedules.make(fields, environment=environment())).value
        except ValidationError as error:
            return self._form(form, by_field(error.errors), status=422)
        return done(f"/schedules/{made.id}", "The schedule is made.")

    async def change(self, schedule_id: str) -> Response:
        schedule = await self._visible(schedule_id)
        form = (await request.form).to_dict()
        try:
            fields = asked_for(form, schedule)
            check_queue(grant(), fields["task"]["queue"])
            await self.engine.schedules.change(schedule_id, fields, environment=environment())
        except ValidationError as error:
            return self._form(form, by_field(error.errors), status=422, schedule=self._shown(schedule))
        return done(f"/schedules/{schedule_id}", "The schedule is changed.")

    async def pause(self, schedule_id: str) -> Response:
        await self._visible(schedule_id)
        await self.engine.schedules.pause(schedule_id, environment=environment())
        return done(f"/schedules/{schedule_id}", "It is paused: its times pass, and no task is made.")

    async def resume(self, schedule_id: str) -> Response:
        await self._visible(schedule_id)
        await self.engine.schedules.resume(schedule_id, environment=environment())
        return done(f"/schedules/{schedule_id}", "It goes on. What passed meanwhile is not made up for.")

    async def run(self, schedule_id: str) -> Response:
        run = await self.engine.schedules.run_once(schedule_id, environment=environment(), sees=may_see)
        return done(f"/tasks/{run.value.id}", "This is the task that the schedule made just now.")

    async def delete(self, schedule_id: str) -> Response:
        await self._visible(schedule_id)
        await self.engine.schedules.delete(schedule_id, environment=environment())
        return done("/schedules", "The schedule is deleted. The tasks that it made stay.")

    # -- within ---------------------------------------------------------------------------------------------
    async def _visible(self, schedule_id: str) -> Schedule:
        schedule = await self.engine.schedules.get(schedule_id, environment=environment())
        if not may_see(queue_of(schedule)):
            raise NotFoundError("there is no such schedule")
        return schedule

    def _shown(self, schedule: Schedule) -> dict[str, Any]:
        """Its document, its rhythm in words, and its next times as its zone shows them."""
        document = view_of(self.engine, schedule)
        task = {
            name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
            for name, value in document["task"].items()
            if name != "payload"
        }
        payload = document["task"].get("payload")
        words = (
            every_in_words(schedule.every)
            if schedule.cron is None and schedule.every
            else cron_in_words(schedule.cron or "")
        )
        return {
            **document,
            "task": task,
            "payload": "{}" if payload is None else bytes(payload).decode(),
            "words": words[:1].upper() + words[1:],
            "times": [{"at": at, "local": local(at, schedule.timezone)} for at in document["next_runs"]],
        }

    def _form(
        self,
        values: Mapping[str, str],
        wrong: Mapping[str, str],
        *,
        status: int = 200,
        schedule: Mapping[str, Any] | None = None,
    ) -> Response:
        return page(
            "schedule_form.html",
            status=status,
            values={**dict.fromkeys(FIELDS, ""), "rhythm": "cron", "timezone": "UTC", **values},
            wrong=wrong,
            schedule=schedule,
            zones=sorted(available_timezones()),
        )


def _times(cron: str, timezone: str, now: Instant) -> list[dict[str, str]]:
    """The next times of a rhythm: as instants, and as its zone shows them."""
    slots = [to_rfc3339(slot) for slot in islice(cron_slots(cron, timezone, now), SHOWN_RUNS)]
    return [{"at": at, "local": local(at, timezone)} for at in slots]
