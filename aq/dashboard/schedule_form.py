"""A schedule as the fields of a form, and back. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from aq.api.body import parse_object
from aq.api.problems import NotJsonError
from aq.errors import FieldError, ValidationError
from aq.schedule import NOT_OF_A_SLOT, Schedule
from aq.task import JsonText

_OF_THE_TASK: Final = (
    "queue",
    "webhook_url",
    "method",
    "payload",
    "priority",
    "max_retries",
    "timeout",
    "tags",
)
FIELDS: Final = ("rhythm", "cron", "every", "timezone", "overlap", "catch_up", *_OF_THE_TASK)
_NUMBERS: Final = frozenset({"every", "priority", "max_retries", "timeout"})


def filled_in(schedule: Schedule) -> dict[str, str]:
    """The fields of a schedule that is there."""
    task = _task(schedule)
    values = {
        "rhythm": "every" if schedule.cron is None else "cron",
        "cron": schedule.cron,
        "every": schedule.every,
        "timezone": schedule.timezone,
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        **{name: msgspec.json.decode(text) for name, text in task.items() if name in _OF_THE_TASK},
    }
    values["payload"] = bytes(task.get("payload", b"")).decode()
    values["tags"] = ", ".join(values.get("tags") or ())
    return {name: str(value) for name, value in values.items() if value is not None}


def asked_for(form: Mapping[str, str], schedule: Schedule | None = None) -> dict[str, Any]:
    """What a form asks for, as the API has it; what it has no field for stays as it is in the ``schedule``.

    Only headers, whose values nobody is told, go to no other address than the one that they were given for.
    Raises ValidationError for what cannot be read; the rest is the engine's to judge.
    """
    wrong: list[FieldError] = []
    read = {name: _read(name, form.get(name, "").strip(), wrong) for name in FIELDS if name != "rhythm"}
    if wrong:
        raise ValidationError(wrong)
    kept = {} if schedule is None else _kept(schedule, read["webhook_url"])
    task = {**kept, **{name: read[name] for name in _OF_THE_TASK if read[name] is not None}}
    rhythm = ("every",) if form.get("rhythm") == "every" else ("cron", "timezone")
    asked = {name: read[name] for name in (*rhythm, "overlap", "catch_up") if read[name] is not None}
    return {**asked, "task": {"queue": "", "webhook_url": "", **task}}


def by_field(errors: Iterable[FieldError]) -> dict[str, str]:
    """What is wrong with which field of the form."""
    return {error.field.removeprefix("task."): error.message for error in errors}


def _read(name: str, text: str, wrong: list[FieldError]) -> Any:
    """The value of a field; None for one that was left empty."""
    if not text:
        return None
    readers: Mapping[str, Callable[[str], Any]] = {
        **dict.fromkeys(_NUMBERS, int),
        "tags": lambda tags: [tag.strip() for tag in tags.split(",") if tag.strip()],
        "payload": payload_of,
    }
    try:
        return readers.get(name, str)(text)
    except ValueError as error:
        told = "must be a whole number" if name in _NUMBERS else str(error)
        wrong.append(FieldError(name, told))
        return None


def payload_of(text: str) -> JsonText:
    """The bytes that somebody wrote are the bytes that are sent. ValueError for what is no object."""
    try:
        parse_object(text.encode())
    except NotJsonError as error:
        raise ValueError(f"must be a JSON object: {error}") from None
    return JsonText(text.encode())


def _kept(schedule: Schedule, webhook_url: str | None) -> dict[str, Any]:
    """The fields of the task that the form does not show; no headers if it is to go elsewhere."""
    fields = _task(schedule)
    left = {*_OF_THE_TASK, *NOT_OF_A_SLOT}
    if msgspec.json.decode(fields["webhook_url"]) != webhook_url:
        left.add("headers")
    return {name: msgspec.json.decode(text) for name, text in fields.items() if name not in left}


def _task(schedule: Schedule) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(schedule.task.encode(), type=dict[str, msgspec.Raw])
