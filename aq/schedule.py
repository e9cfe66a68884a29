"""Schedules: a task at each slot of a cron expression or of a fixed span. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import chain, takewhile
from typing import Annotated, Any, Final

import msgspec
from attrs import evolve, field, frozen

from aq.errors import FieldError, Gathering, ValidationError, within
from aq.ids import sequence_of
from aq.instants import SECOND, Instant
from aq.rules import (
    REQUIRED,
    UNKNOWN,
    Integer,
    OneOf,
    Optional,
    enforce,
    given,
    object_schema,
    rules_of,
    structure,
    whole,
)
from aq.slots import (
    FIVE_FIELDS,
    MAX_CRON_LENGTH,
    check_cron,
    check_timezone,
    cron_slots,
    every_slots,
    latest,
)
from aq.task import Environment, JsonText, NewTask

NOT_OF_A_SLOT: Final = ("delay", "run_at", "idempotency_key")
"""What a task of a schedule cannot be given: when it runs, and that it is one, is said by its slot."""


class Overlap(StrEnum):
    """What a slot does while the task of the firing before has not ended."""

    ALLOW = "allow"
    SKIP = "skip"


class CatchUp(StrEnum):
    """Which of the slots that passed while the service was down are fired late."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


@frozen(kw_only=True)
class Schedule:
    """A schedule as kept. Slots are wall instants; ``version`` rises with every change."""

    id: str
    environment: Environment
    task: str
    """JSON: the fields of the task that each slot creates, without times."""
    cron: str | None = None
    every: int | None = None
    """Seconds."""
    timezone: str = "UTC"
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.NONE
    paused: bool = False
    created_at: Instant
    from_at: Instant
    """Slots after this instant count: its creation, its latest change of rhythm, the end of its pause."""
    last_slot: Instant | None = None
    """The latest slot that is settled, fired or skipped; one at or before it never fires again."""
    last_task_id: str | None = None
    """Of a slot, or of a run by hand."""
    slot_task_id: str | None = None
    """The latest that a slot made."""
    version: int = 1


# -- slots --------------------------------------------------------------------------------------------------
def slots_after(schedule: Schedule, instant: Instant) -> Iterator[Instant]:
    """The slots after an instant, strictly increasing, settled or not; of a paused schedule those it would
    have. They may come to an end.
    """
    after = max(instant, schedule.from_at)
    if schedule.every is not None:
        return every_slots(schedule.from_at, schedule.every, after)
    return cron_slots(schedule.cron or "", schedule.timezone, after)


def missed(schedule: Schedule, now: Instant) -> Iterator[Instant]:
    """The unsettled slots up to ``now`` that its ``catch_up`` still fires, in order."""
    settled = _settled_through(schedule)
    if schedule.catch_up is CatchUp.ALL:
        return takewhile(lambda slot: slot <= now, slots_after(schedule, settled))
    last = latest_slot(schedule, now) if schedule.catch_up is CatchUp.LAST else None
    return iter(() if last is None else (last,))


def next_due(schedule: Schedule, up_at: Instant) -> Instant | None:
    """The slot to be settled next, where the service is up since ``up_at``; None while paused.

    What passed before is for its ``catch_up`` to say; what came since is due, however late it has become.
    """
    if schedule.paused:
        return None
    later = slots_after(schedule, max(_settled_through(schedule), up_at))
    return next(chain(missed(schedule, up_at), later), None)


def latest_slot(schedule: Schedule, by: Instant) -> Instant | None:
    """The last unsettled slot that is not later than ``by``."""
    return latest(lambda instant: slots_after(schedule, instant), _settled_through(schedule), by)


def settled(schedule: Schedule, slot: Instant, task_id: str | None = None) -> Schedule:
    """The next version, in which a slot and all before it are settled, by a task or by none."""
    last_slot = max(slot, schedule.last_slot or slot)
    after = evolve(schedule, last_slot=last_slot, version=schedule.version + 1)
    return after if task_id is None else evolve(after, last_task_id=task_id, slot_task_id=task_id)


def changed(before: Schedule, after: Schedule, up_at: Instant) -> Schedule:
    """The next version, made by a caller's change where the service is up since ``up_at``.

    Slots that were passed over without a word are settled now, so that a new ``catch_up`` does not find them.
    """
    passed = latest_slot(before, up_at) if before.catch_up is CatchUp.NONE else None
    last_slot = after.last_slot if passed is None else passed
    return evolve(after, last_slot=last_slot, version=before.version + 1)


def rhythm(schedule: Schedule) -> tuple[str | None, int | None, str]:
    """What says when its slots are: ``cron``, ``every``, ``timezone``."""
    return schedule.cron, schedule.every, schedule.timezone


def resumed(schedule: Schedule, now: Instant) -> Schedule:
    """No longer paused; what passed meanwhile never fires. Slots of a fixed span stay where they were.

    What a clock that was ahead of this one has settled counts for nothing: slots are those after now.
    """
    from_at = now
    if schedule.every is not None:
        from_at -= (now - schedule.from_at) % (schedule.every * SECOND)
    last_slot = None if schedule.last_slot is None or schedule.last_slot > now else schedule.last_slot
    return evolve(schedule, paused=False, from_at=from_at, last_slot=last_slot)


def last_run_at(schedule: Schedule) -> Instant | None:
    """When its latest task was made, to the millisecond. The task may be gone: its id tells."""
    sequence = None if schedule.last_task_id is None else sequence_of(schedule.last_task_id)
    return None if sequence is None else (sequence >> 15) * 1_000


def _settled_through(schedule: Schedule) -> Instant:
    return max(schedule.from_at, schedule.last_slot or schedule.from_at)


# -- the task -----------------------------------------------------------------------------------------------
class TaskText(str):
    """The JSON text of a task's fields, checked already."""

    __slots__ = ()


class _QueueOnly(msgspec.Struct):
    queue: str


def task_text(fields: Mapping[str, Any]) -> TaskText:
    """The fields of a task, which are those of `NewTask`, as they are kept.

    Raises ValidationError naming every wrong field.
    """
    wrong = Gathering()
    wrong.errors += [
        FieldError(name, "is not for a schedule's task") for name in NOT_OF_A_SLOT if name in fields
    ]
    with wrong:
        new = structure({name: fields[name] for name in fields if name not in NOT_OF_A_SLOT}, NewTask)
    wrong.check()
    kept = {name: getattr(new, name) for name in fields}
    if "headers" in kept:
        kept["headers"] = dict(new.headers)
    if "payload" in kept:
        kept["payload"] = msgspec.Raw(new.payload)
    return TaskText(msgspec.json.encode(kept).decode())


def task_of(text: str) -> NewTask:
    """The task that a text stands for, its payload byte for byte. Raises ValidationError."""
    members = msgspec.json.decode(text.encode(), type=dict[str, msgspec.Raw])
    payload = members.pop("payload", None)
    fields: dict[str, Any] = {name: msgspec.json.decode(value) for name, value in members.items()}
    if payload is not None:  # it may hold numbers that nothing here can: they are for the receiver to read
        fields["payload"] = JsonText(bytes(payload))
    return structure(fields, NewTask)


def queue_of(schedule: Schedule) -> str:
    """The name of the queue of its tasks."""
    return msgspec.json.decode(schedule.task.encode(), type=_QueueOnly).queue


# -- as asked for -------------------------------------------------------------------------------------------
@frozen
class Cron:
    """Five fields, as cron has them, that come true at some time."""

    def accept(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("must be a text of five fields, such as 30 9 * * MON-FRI")
        check_cron(value)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": MAX_CRON_LENGTH, "pattern": whole(FIVE_FIELDS)}


@frozen
class TimeZone:
    """The name of a zone in the IANA database."""

    def accept(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("must be an IANA time zone such as Europe/Berlin")
        check_timezone(value)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


@frozen
class TaskFields:
    """An object with the fields of a task, without times; becomes its text."""

    def accept(self, value: object) -> TaskText:
        if isinstance(value, TaskText):
            return value
        if not isinstance(value, Mapping):
            raise ValueError("must be an object with the fields of a task")
        return task_text(value)

    def schema(self) -> dict[str, Any]:
        shape = object_schema(NewTask)
        for name in NOT_OF_A_SLOT:
            del shape["properties"][name]
        return shape


@frozen(kw_only=True)
class NewSchedule:
    """A schedule as asked for. Raises ValidationError naming every wrong field.

    A task is made at each time of ``cron`` in ``timezone``, or each ``every`` seconds; one of the two.
    ``task`` are the fields of a task but for ``delay``, ``run_at`` and ``idempotency_key``.
    """

    task: Annotated[Any, TaskFields()] = field(converter=given)
    cron: Annotated[str | None, Optional(Cron())] = None
    every: Annotated[int | None, Optional(Integer(1, 31_536_000))] = None
    timezone: Annotated[str, TimeZone()] = "UTC"
    overlap: Annotated[Overlap, OneOf(Overlap)] = field(default=Overlap.ALLOW, converter=given)
    catch_up: Annotated[CatchUp, OneOf(CatchUp)] = field(default=CatchUp.NONE, converter=given)

    def __attrs_post_init__(self) -> None:
        enforce(self)
        if wrong := list(_wrong_together(self.cron, self.every, self.timezone)):
            raise ValidationError(wrong)


FIELDS: Final = tuple(rules_of(NewSchedule))


def new_schedule(fields: Mapping[str, Any]) -> NewSchedule:
    """From fields as a caller gives them. Raises ValidationError, also for those within ``task``."""
    wrong = [FieldError(name, UNKNOWN) for name in fields if name not in FIELDS]
    for name, rule in rules_of(NewSchedule).items():
        try:
            if name in fields:
                rule.accept(fields[name])
            elif name == "task":
                wrong.append(FieldError(name, REQUIRED))
        except (ValueError, ValidationError) as error:
            wrong += within(name, error)
    together = _wrong_together(fields.get("cron"), fields.get("every"), fields.get("timezone", "UTC"))
    named = {error.field for error in wrong}
    wrong += [error for error in together if error.field not in named]
    if wrong:
        raise ValidationError(wrong)
    return NewSchedule(**fields)


def changed_fields(schedule: Schedule, changes: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of a schedule with some of them changed. A new rhythm takes the place of the old one."""
    fields = {name: getattr(schedule, name) for name in FIELDS}
    fields["task"] = TaskText(schedule.task)
    if changes.get("cron") is not None:
        fields["every"] = None
    if changes.get("every") is not None:
        fields.update(cron=None, timezone="UTC")
    return {**fields, **changes}


def _wrong_together(cron: object, every: object, timezone: object) -> Iterator[FieldError]:
    if cron is None and every is None:
        yield FieldError("cron", "is required, unless every is given")
    if cron is not None and every is not None:
        yield FieldError("every", "must not be given together with cron")
    if cron is None and every is not None and timezone != "UTC":
        yield FieldError("timezone", "goes with cron only")
