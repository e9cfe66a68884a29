"""A task sent again as a new one: with its own fields, but for those that somebody wrote anew. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from aq.dashboard.curl import fields_of
from aq.dashboard.schedule_form import payload_of
from aq.engine import TaskView
from aq.errors import FieldError, ValidationError
from aq.task import JsonText, NewTask

FIELDS: Final = ("queue", "webhook_url", "delay", "payload")
"""That can be written anew."""


def filled_in(view: TaskView) -> dict[str, str]:
    """The form before anything is written; the new task is due at once."""
    task = view.task
    payload = view.payload.decode()
    return {"queue": task.queue.name, "webhook_url": task.webhook_url, "delay": "0", "payload": payload}


def anew(view: TaskView, form: Mapping[str, str], idempotency_key: str | None = None) -> NewTask:
    """The task with what the form has, and without its times and its own idempotency key.

    Its headers, whose values nobody is told, go to no other address than the one that they were given for.
    Raises ValidationError that names every wrong field.
    """
    wrong: list[FieldError] = []
    payload, delay = JsonText(view.payload), form.get("delay", "").strip() or "0"
    try:
        payload = payload_of(form["payload"]) if "payload" in form else payload
    except ValueError as error:
        wrong.append(FieldError("payload", str(error)))
    if not delay.isdecimal():
        wrong.append(FieldError("delay", "must be a whole number"))
    same = NewTask(**fields_of(view.task), payload=payload)
    webhook_url = form.get("webhook_url", same.webhook_url).strip()
    try:
        new = evolve(
            same,
            queue=form.get("queue", same.queue).strip(),
            webhook_url=webhook_url,
            delay=int(delay) if delay.isdecimal() else 0,
            headers=dict(view.task.options.headers) if webhook_url == same.webhook_url else {},
            idempotency_key=idempotency_key,
        )
    except ValidationError as error:
        raise ValidationError([*wrong, *error.errors]) from None
    if wrong:
        raise ValidationError(wrong)
    return new
