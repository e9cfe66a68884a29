"""The log of `aq serve`: each record of the standard library's logging as a JSON object, or for people.

The engine and the API log by ``logging`` alone and configure nothing: an app that embeds them decides. What
they add to a record beside its text is named in `FIELDS`; nothing else that hangs on a record is written.
"""

from __future__ import annotations

import logging
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.types import EventDict, Processor

from aq.instants import from_seconds, to_rfc3339
from aq.texts import one_line

FIELDS: Final = (
    *("queue", "task_id", "attempt", "outcome", "error_type", "code"),
    *("method", "route", "status", "duration_ms", "lateness_ms"),
    *("host", "trace_id", "request_id", "key_id"),
)
"""Behind ``ts``, ``level``, ``logger`` and ``event``, in this order; only those that the record has."""


def configure(form: str, level: str, stream: TextIO) -> None:
    """Everything that this process logs goes to the stream. ``auto`` is for people where it is a terminal."""
    logging.basicConfig(level=level.upper(), handlers=[handler(form, stream)], force=True)


def handler(form: str, stream: TextIO) -> logging.Handler:
    """``form`` is auto, console or json."""
    terminal = stream.isatty()
    if form == "console" or (form == "auto" and terminal):
        render: list[Processor] = [
            structlog.dev.ConsoleRenderer(
                timestamp_key="ts",
                sort_keys=False,
                colors=terminal,
                exception_formatter=structlog.dev.plain_traceback,  # the others show what variables hold
                pad_event_to=0,
            )
        ]
        render.insert(0, _on_one_line)
    else:
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]
    made = logging.StreamHandler(stream)
    made.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_facts],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    return made


def _facts(logger: object, name: str, event: EventDict) -> EventDict:
    """When, how bad, from where, what, and the fields of the record."""
    record: logging.LogRecord = event["_record"]
    known = vars(record)
    facts = {
        "ts": to_rfc3339(from_seconds(record.created)),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": event.pop("event"),
        **{field: known[field] for field in FIELDS if known.get(field) is not None},
    }
    return {**facts, **event}


def _on_one_line(logger: object, name: str, event: EventDict) -> EventDict:
    """Whatever somebody sent, it begins no line of its own."""
    return {**event, "event": one_line(str(event["event"]))}


def _json(event: Any, **options: Any) -> str:
    return msgspec.json.encode(event).decode()
