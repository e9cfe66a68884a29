"""``aq send``: one task from the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aq.cli.follow import wait_for
from aq.cli.output import print_results
from aq.cli.service import remote
from aq.cli.values import Duration, JsonObject, Moment, given, relative
from aq.texts import one_line

if TYPE_CHECKING:
    from aq.client import Client
    from aq.client.results import Task

F = TypeVar("F", bound=Callable[..., Any])

_WHAT = (
    click.option("--queue", default="default", show_default=True, help="The queue; made on first use."),
    click.option(
        "--data", "-d", "payload", type=JsonObject(), metavar="JSON", help="Payload, or @FILE, or -."
    ),
    click.option("--priority", type=click.IntRange(1, 10), help="Higher goes first.  [default: 5]"),
    click.option(
        "--max-retries", type=click.IntRange(0, 100), help="After a first failure.  [default: the queue's]"
    ),
    click.option("--timeout", type=Duration(), help="Of an attempt.  [default: the queue's]"),
    click.option(
        "--method",
        type=click.Choice(["POST", "GET", "PUT", "PATCH", "DELETE"]),
        help="A GET sends no body.  [default: POST]",
    ),
    click.option(
        "--header", "-H", "headers", multiple=True, metavar="'NAME: VALUE'", help="For the webhook."
    ),
    click.option("--expires-in", type=Duration(), help="No attempt starts after it."),
    click.option("--ordering-key", help="Tasks of one key run one at a time, in order."),
    click.option("--tag", "tags", multiple=True, help="To find it by; repeatable."),
    click.option("--callback-url", help="Told of the end."),
)


def task_options(command: F) -> F:
    """What a task may be given, but for its times."""
    for option in reversed(_WHAT):
        command = option(command)
    return command


def task_fields(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a task that options name."""
    headers: Sequence[str] = options.pop("headers")
    pairs = [line.partition(":") for line in headers]
    for name, colon, _ in pairs:
        if not colon:
            raise click.UsageError(f"--header must be 'NAME: VALUE', not {name!r}")
    found = given(options)
    return {**found, "headers": {name.strip(): value.strip() for name, _, value in pairs}} if pairs else found


@click.command()
@click.argument("webhook_url", metavar="URL")
@task_options
@click.option("--delay", type=Duration(), help="Before the first attempt: 10, 5m, 2h.")
@click.option("--at", "run_at", type=Moment(), help="When, in place of --delay: 2026-01-31T09:30:00Z.")
@click.option("--idempotency-key", help="Sent twice with one key it is one task.")
@click.option("--wait", is_flag=True, help="Until it has ended; exit code 5 where it failed.")
@click.option("--wait-timeout", type=Duration(), help="How long, at most; exit code 5 then.")
@remote
def send(client: Client, as_json: bool, *, wait: bool, wait_timeout: float | None, **options: Any) -> None:
    """Have a webhook called: a task for URL.

    \b
    To the receiver of `aq serve --dev`, in the folder where that runs:
      aq send http://127.0.0.1:8080/dev/receiver -d '{"n": 1}' --wait
    In ten minutes, before others:
      aq send https://example.com/hook -d @task.json --queue mail --delay 10m --priority 8
    """
    task = client.tasks.create(**task_fields(options))
    if wait or wait_timeout is not None:
        wait_for(client, task, wait_timeout, as_json)
    elif as_json:
        print_results(task)
    else:
        click.echo(task_line(task))


def task_line(task: Task) -> str:
    """``task_01…  mail  pending  due in 10 s``."""
    due = f"due {relative(task.due_at)}" if task.due_at is not None and task.delay else ""
    return one_line("  ".join(part for part in (task.id, task.queue, task.status, due) if part))
