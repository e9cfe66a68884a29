"""What happens in a service, line by line."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

import click

from aq.texts import one_line

if TYPE_CHECKING:
    from aq.client import Client
    from aq.client.events import Event


def watch_events(client: Client, queue: str | None, count: int | None, as_json: bool) -> None:
    """Print events as they come, ``count`` of them or until ^C."""
    with client.events(queue=queue) as events:
        for event in islice(events, count):
            if as_json:
                document = {"event": event.name, "id": event.id, **event.data}
                click.echo(json.dumps(document, ensure_ascii=False))
            else:
                click.echo(event_line(event))


def event_line(event: Event) -> str:
    """``12:00:01.004  task.retrying  mail  task_01…  attempt 1  error_type http_5xx``."""
    told = {name: value for name, value in event.data.items() if name not in ("at", "queue", "task_id")}
    parts = [
        "" if event.at is None else event.at.astimezone().strftime("%H:%M:%S.%f")[:-3],
        event.name,
        event.queue or "",
        event.task_id or "",
        *(f"{name} {value}" for name, value in told.items() if value is not None),
    ]
    return one_line("  ".join(part for part in parts if part))
