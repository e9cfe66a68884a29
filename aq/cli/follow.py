"""A task on its way: each attempt told as it ends, until the task has."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from aq.cli.ends import Code, Failure
from aq.cli.output import print_results, tell_progress
from aq.cli.values import relative, span
from aq.texts import one_line

if TYPE_CHECKING:
    from aq.client import Client
    from aq.client.results import Attempt, Task

_LOOK_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 0.2


def follow(client: Client, task: Task, timeout: float | None, tell: Callable[[Attempt, Task], None]) -> Task:
    """The task as it ended, or as it stands after ``timeout`` seconds. ``tell`` gets each attempt."""
    begun, told = time.monotonic(), 0
    while True:
        for attempt in task.attempts[told:]:
            tell(attempt, task)
        told = len(task.attempts)
        left = float("inf") if timeout is None else timeout - (time.monotonic() - begun)
        if task.ended or left <= 0:
            return task
        asked = time.monotonic()
        task = client.tasks.get(task.id, wait=min(_LOOK_SECONDS, left))
        if len(task.attempts) == told and not task.ended and time.monotonic() - asked < _AGAIN_SECONDS:
            time.sleep(_AGAIN_SECONDS)  # a service that is ending holds no answer back


def wait_for(client: Client, task: Task, timeout: float | None, as_json: bool) -> None:
    """Follow a task and print how it ended. Raises Failure, UNSUCCESSFUL, for one that is not completed."""

    def tell(text: str) -> None:
        if as_json:
            tell_progress(text, as_json)
        else:
            click.echo(text)

    tell(one_line(f"{task.id}  {task.queue}  {task.status}"))
    task = follow(client, task, timeout, lambda attempt, task: tell(attempt_line(attempt, task)))
    if as_json:
        print_results(task)
    if task.status == "completed":
        tell(f"completed after {_attempts(task)} in {_took(task)}")
    elif task.status == "failed":
        raise Failure(
            one_line(f"{task.id} failed: {task.failure_reason}, {task.error_type}, after {_attempts(task)}"),
            Code.UNSUCCESSFUL,
            hint=f"Once its cause is mended: aq tasks retry {task.id}",
        )
    else:
        due = "" if task.due_at is None else f", due {relative(task.due_at)}"
        raise Failure(
            f"{task.id} is still {task.status}{due}",
            Code.UNSUCCESSFUL,
            hint=f"To see what it waits for: aq tasks explain {task.id}",
        )


def watch_task(client: Client, task_id: str, as_json: bool) -> None:
    """Print a task's attempts as they end, until it has."""
    import msgspec

    def tell(attempt: Attempt, task: Task) -> None:
        click.echo(msgspec.json.encode(attempt) if as_json else attempt_line(attempt, task))

    task = client.tasks.get(task_id)
    if not as_json:
        click.echo(one_line(f"{task.id}  {task.queue}  {task.status}"))
    task = follow(client, task, None, tell)
    if not as_json:
        click.echo(task.status)


def attempt_line(attempt: Attempt, task: Task) -> str:
    """``  12:00:01.004  attempt 1  500  3 ms  next after 1.0 s``."""
    parts = [
        attempt.executed_at.astimezone().strftime("%H:%M:%S.%f")[:-3],
        f"attempt {attempt.number}",
        str(attempt.response_code or attempt.status),
        "" if attempt.duration_ms is None else f"{attempt.duration_ms} ms",
        "" if attempt.response_code or not attempt.error else attempt.error,
    ]
    if attempt is task.attempts[-1] and task.status == "pending" and task.due_at is not None:
        ended_at = attempt.executed_at + timedelta(milliseconds=attempt.duration_ms or 0)
        parts.append(f"next after {span(max(0.0, (task.due_at - ended_at).total_seconds()))}")
    return one_line("  " + "  ".join(part for part in parts if part))


def _attempts(task: Task) -> str:
    number = len(task.attempts)
    return f"{number} attempt{'' if number == 1 else 's'}"


def _took(task: Task) -> str:
    ended = task.completed_at or task.failed_at
    return "" if ended is None else span((ended - task.created_at).total_seconds())
