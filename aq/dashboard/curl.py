"""A task as lines for a shell that ask for it anew. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from aq.delivery.protocol import Delivery
from aq.delivery.webhook import body_of
from aq.documents import HIDDEN
from aq.engine import TaskView
from aq.task import DEFAULT_PRIORITY, NO_OPTIONS, Method, Task

_JSON: Final = "Content-Type: application/json"


def fields_of(task: Task) -> Mapping[str, Any]:
    """What was asked for and is not the default; but not its times, headers and payload."""
    options = task.options
    asked = {
        "priority": task.priority if task.priority != DEFAULT_PRIORITY else None,
        "max_retries": task.max_retries,
        "timeout": task.timeout,
        "expires_in": options.expires_in,
        "method": options.method if options.method is not NO_OPTIONS.method else None,
        "ordering_key": task.ordering_key,
        "tags": list(options.tags) or None,
        "callback_url": options.callback_url,
    }
    told = {name: value for name, value in asked.items() if value is not None}
    return {"queue": task.queue.name, "webhook_url": task.webhook_url, **told}


def to_receiver(view: TaskView) -> str:
    """What the receiver is asked, but for the signature; values of the task's own headers are not told."""
    task = view.task
    method = task.options.method
    body = body_of(
        Delivery(
            task_id=task.id,
            queue=task.queue,
            webhook_url=task.webhook_url,
            payload=view.payload,
            attempt=max(1, task.attempt),
            timeout=view.timeout,
            due_at=task.due_at,
            started_at=task.due_at,
            method=method,
        )
    )
    headers = [f"{name}: {HIDDEN}" for name, _ in task.options.headers]
    if method is not Method.GET:
        headers.insert(0, _JSON)
    return _curl(f"-X {method} {shlex.quote(task.webhook_url)}", headers, body)


def to_api(view: TaskView, host: str) -> str:
    """The request that makes the same task anew, but for its headers, whose values are not told."""
    body = msgspec.json.encode({**fields_of(view.task), "payload": msgspec.Raw(view.payload)})
    return _curl(f'{shlex.quote(host + "/v1/tasks")} -H "Authorization: Bearer $AQ_API_KEY"', [_JSON], body)


def _curl(beginning: str, headers: Sequence[str], body: bytes) -> str:
    parts = [f"curl {beginning}", *(f"-H {shlex.quote(header)}" for header in headers)]
    if body:
        parts.append(f"-d {shlex.quote(body.decode())}")
    return " \\\n  ".join(parts)
