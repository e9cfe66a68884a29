"""``aq tasks``: what a service has to do, and did."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from aq.cli.documents import task_documents
from aq.cli.events import watch_events
from aq.cli.follow import attempt_line, wait_for, watch_task
from aq.cli.output import confirm, print_fields, print_results, print_table, say, tell_progress, yes_option
from aq.cli.send import task_line
from aq.cli.service import remote
from aq.cli.values import Duration, Moment, Text, given, local, relative
from aq.texts import one_line

if TYPE_CHECKING:
    from aq.client import Client
    from aq.client.results import Task

BATCH: Final = 1_000
"""So many tasks are created with one request, all or none."""
_STATES: Final = ["pending", "active", "completed", "failed"]


@click.group()
def tasks() -> None:
    """Create, find, wait for, retry and delete tasks.

    \b
    What has failed lately, and why:
      aq tasks list --status failed
    """


@tasks.command("create")
@click.argument("file", type=Text(), metavar="FILE|-")
@remote
def create(client: Client, as_json: bool, *, file: bytes) -> None:
    """Create tasks from JSON: an object, a list, or an object a line.

    FILE is @PATH, - is stdin, anything else the JSON itself; the fields are those of POST /v1/tasks. They go
    in batches of 1,000, each all or none; `aq send` makes a single task from options.

    \b
    One, or as many as a file has lines:
      aq tasks create '{"queue": "mail", "webhook_url": "https://example.com/"}'
      aq tasks create @tasks.jsonl
    """
    documents = task_documents(file)
    made: list[Task] = []
    rest = iter(documents)
    while batch := list(islice(rest, BATCH)):
        made += client.tasks.create_batch(batch)
        if len(documents) > BATCH:
            tell_progress(f"{len(made):,} of {len(documents):,} created", as_json)
    if as_json:
        print_results(made)
    else:
        click.echo("\n".join(map(task_line, made)))


@tasks.command("list")
@click.option("--queue", help="Of this queue.")
@click.option("--status", type=click.Choice(_STATES), help="In this state.")
@click.option("--tag", help="With this tag.")
@click.option("--error-type", help="Whose latest attempt ended so: http_5xx, timeout, connect …")
@click.option("--destination", help="Scheme, host and port: https://example.com.")
@click.option("--created-after", type=Moment(), help="From then on.")
@click.option("--created-before", type=Moment(), help="Before then.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--all", "every", is_flag=True, help="All there are, in place of --limit.")
@remote
def list_(client: Client, as_json: bool, *, limit: int, every: bool, **which: Any) -> None:
    """List tasks, newest first.

    \b
    The ids of all that failed in a queue, for another program:
      aq tasks list --queue mail --status failed --all --json
    """
    page = 100 if every else min(limit, 100)
    found = list(islice(client.tasks.list(limit=page, **given(which)), None if every else limit))
    if as_json:
        print_results(found)
        return
    rows = [
        (it.id, it.queue, it.status, it.priority, _times(it), it.error_type, it.webhook_url) for it in found
    ]
    print_table(
        ["id", "queue", "status", "priority", "when", "error", "webhook"],
        rows,
        empty="there are no such tasks" + (" (`aq queues list` shows all queues)" if which["queue"] else ""),
    )
    if len(found) == limit and not every:
        say(f"These are the newest {limit}: --limit or --all for more.")


def _times(task: Task) -> str:
    if task.status == "pending":
        return f"due {relative(task.due_at)}"
    if task.status == "active":
        return f"started {relative(task.started_at)}"
    return relative(task.completed_at or task.failed_at)


@tasks.command("get")
@click.argument("id")
@remote
def get(client: Client, as_json: bool, *, id: str) -> None:  # noqa: A002 - as the API has it
    """Show a task, its payload and its attempts.

    \b
    With what its receiver answered, and where the time went:
      aq tasks get task_01JDE3G5P00007CMS8H5KDRDQG
    """
    task = client.tasks.get(id)
    if as_json:
        print_results(task)
        return
    print_fields(
        [
            ("id", task.id),
            ("queue", task.queue),
            ("status", task.status),
            ("reason", task.failure_reason),
            ("webhook", f"{task.method} {task.webhook_url}"),
            ("priority", task.priority),
            ("retries", f"at most {task.max_retries}"),
            ("created", local(task.created_at)),
            ("due", f"{local(task.due_at)} ({relative(task.due_at)})" if task.due_at else None),
            ("expires", local(task.expires_at)),
            ("ended", local(task.completed_at or task.failed_at)),
            ("ordering key", task.ordering_key),
            ("tags", ", ".join(task.tags)),
            ("schedule", task.schedule_id),
            ("callback", task.callback and f"{task.callback.status} ({task.callback_url})"),
            ("payload", bytes(task.payload_json).decode()),
        ]
    )
    for attempt in task.attempts:
        click.echo(attempt_line(attempt, task))
        if attempt.response_body:
            click.echo(f"      {one_line(attempt.response_body)}")


@tasks.command("wait")
@click.argument("id")
@click.option("--timeout", type=Duration(), help="At most so long.  [default: for ever]")
@remote
def wait(client: Client, as_json: bool, *, id: str, timeout: float | None) -> None:  # noqa: A002
    """Wait until a task has ended.

    Exit code 0: completed. 5: it failed, or the time ran out.

    \b
    At most a minute:
      aq tasks wait task_01JDE3G5P00007CMS8H5KDRDQG --timeout 1m
    """
    wait_for(client, client.tasks.get(id), timeout, as_json)


@tasks.command("watch")
@click.argument("id", required=False)
@click.option("--queue", help="Without ID: only what happens in this queue.")
@click.option("--count", type=click.IntRange(1), help="Without ID: end after so many.  [default: at ^C]")
@remote
def watch(client: Client, as_json: bool, *, id: str | None, queue: str | None, count: int | None) -> None:  # noqa: A002
    """Show what happens, as it happens.

    With ID a task's attempts as they end, until it has; unlike `wait` it exits 0 however the task ended.
    Without one every event, of a queue or of all; a stream that breaks is resumed where it was. With --json
    there is a line for each.

    \b
    A retry as it happens, then all that happens in a queue:
      aq tasks watch task_01JDE3G5P00007CMS8H5KDRDQG
      aq tasks watch --queue mail
    """
    if id is None:
        watch_events(client, queue, count, as_json)
    else:
        watch_task(client, id, as_json)


@tasks.command("retry")
@click.argument("ids", nargs=-1, required=True)
@remote
def retry(client: Client, as_json: bool, *, ids: Sequence[str]) -> None:
    """Try failed tasks again, now, with all their retries.

    \b
    One; `aq queues retry` does it for many:
      aq tasks retry task_01JDE3G5P00007CMS8H5KDRDQG
    """
    found = [client.tasks.retry(task_id) for task_id in ids]
    if as_json:
        print_results(found)
    else:
        click.echo("\n".join(map(task_line, found)))


@tasks.command("delete")
@click.argument("ids", nargs=-1, required=True)
@yes_option
@remote
def delete(client: Client, as_json: bool, *, ids: Sequence[str], yes: bool) -> None:
    """Delete pending tasks; they are never delivered.

    \b
    Without being asked:
      aq tasks delete task_01JDE3G5P00007CMS8H5KDRDQG --yes
    """
    found = [client.tasks.get(task_id) for task_id in ids]
    confirm("Delete " + ", ".join(map(task_line, found)) + "?", yes)
    for task in found:
        client.tasks.delete(task.id)
    if as_json:
        print_results({"deleted": list(ids)})
    else:
        click.echo("\n".join(f"deleted {task.id}" for task in found))


@tasks.command("explain")
@click.argument("id")
@remote
def explain(client: Client, as_json: bool, *, id: str) -> None:  # noqa: A002
    """Say why a task is not running, and when it will be tried again.

    \b
    The first reason is what it waits for now:
      aq tasks explain task_01JDE3G5P00007CMS8H5KDRDQG
    """
    found = client.tasks.explain(id)
    if as_json:
        print_results(found)
        return
    ahead = (
        f"{'' if found.tasks_ahead_exact else 'at least '}{found.tasks_ahead:,}"
        if found.tasks_ahead
        else None
    )
    fields = [("status", found.status), ("tasks ahead", ahead)]
    for reason in found.reasons:
        until = f" ({relative(reason.until)})" if reason.until else ""
        fields.append((reason.reason, f"{reason.detail}{until}"))
    fields += [
        (f"attempt {it.attempt}", f"{relative(it.at)}, should those before it fail") for it in found.retries
    ]
    print_fields(fields)
