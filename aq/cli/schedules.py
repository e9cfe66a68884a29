"""``aq schedules``: a task at each time of a cron expression, or every so often."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aq.cli.output import confirm, print_fields, print_json, print_results, print_table, yes_option
from aq.cli.send import task_fields, task_line, task_options
from aq.cli.service import remote
from aq.cli.values import Duration, JsonObject, given, local, relative

if TYPE_CHECKING:
    from aq.client import Client
    from aq.client.results import Schedule

F = TypeVar("F", bound=Callable[..., Any])
_TIMES = ("cron", "every", "timezone", "overlap", "catch_up")
_OPTIONS = (
    click.option("--cron", help="Five fields: '30 9 * * MON-FRI'."),
    click.option("--every", type=Duration(), help="In place of --cron: 30s, 5m."),
    click.option("--timezone", help="Of --cron: Europe/Berlin.  [default: UTC]"),
    click.option(
        "--overlap",
        type=click.Choice(["allow", "skip"]),
        help="skip: no task while that of the time before has not ended.  [default: allow]",
    ),
    click.option(
        "--catch-up",
        type=click.Choice(["none", "last", "all"]),
        help="Which of the times that the service missed are made up for.  [default: none]",
    ),
)


def _schedule_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group()
def schedules() -> None:
    """Have tasks made at certain times, over and over.

    \b
    What comes next:
      aq schedules list
    """


@schedules.command("list")
@remote
def list_(client: Client, as_json: bool) -> None:
    """List schedules and when they are next.

    \b
    Their ids, for another program:
      aq schedules list --json
    """
    found = client.schedules.list()
    if as_json:
        print_results(found)
        return
    rows = [
        (
            it.id,
            _when(it),
            _next(it),
            relative(it.last_run_at),
            it.task.get("queue"),
            it.task.get("webhook_url"),
        )
        for it in found
    ]
    print_table(["id", "when", "next", "last", "queue", "webhook"], rows, empty="there are no schedules yet")


def _when(schedule: Schedule) -> str:
    return f"every {schedule.every} s" if schedule.cron is None else f"{schedule.cron} {schedule.timezone}"


def _next(schedule: Schedule) -> str:
    return "paused" if schedule.paused else relative(next(iter(schedule.next_runs), None))


@schedules.command("get")
@click.argument("id")
@remote
def get(client: Client, as_json: bool, *, id: str) -> None:  # noqa: A002 - as the API has it
    """Show a schedule and its next times.

    \b
    By the id that `aq schedules list` shows:
      aq schedules get sch_01JDE3G5P00007CMS8H5KDRDQG
    """
    _show(client.schedules.get(id), as_json)


def _show(schedule: Schedule, as_json: bool) -> None:
    if as_json:
        print_results(schedule)
        return
    print_fields(
        [
            ("id", schedule.id),
            ("when", _when(schedule)),
            ("state", "paused" if schedule.paused else None),
            ("overlap", schedule.overlap),
            ("catch up", schedule.catch_up),
            ("created", local(schedule.created_at)),
            (
                "last",
                schedule.last_run_at and f"{local(schedule.last_run_at)}  {schedule.last_task_id or ''}",
            ),
            *((f"next {number}", local(at)) for number, at in enumerate(schedule.next_runs, 1)),
            ("task", json.dumps(schedule.task, ensure_ascii=False)),
        ]
    )


@schedules.command("create")
@click.argument("webhook_url", metavar="URL")
@_schedule_options
@task_options
@remote
def create(client: Client, as_json: bool, **options: Any) -> None:
    """Have a task for URL made at each time of a schedule.

    \b
    On working days at half past nine, in Berlin:
      aq schedules create https://example.com/report --queue reports \\
          --cron '30 9 * * MON-FRI' --timezone Europe/Berlin
    """
    times = given({name: options.pop(name) for name in _TIMES})
    _show(client.schedules.create(task=task_fields(options), **times), as_json)  # type: ignore[arg-type]  # the options of a task are its fields


@schedules.command("set")
@click.argument("id")
@_schedule_options
@click.option(
    "--task", type=JsonObject(), metavar="JSON", help="Its task, whole: queue, webhook_url, payload …"
)
@remote
def set_(client: Client, as_json: bool, *, id: str, task: bytes | None, **times: Any) -> None:  # noqa: A002
    """Change a schedule.

    \b
    From now on every ten minutes:
      aq schedules set sch_01JDE3G5P00007CMS8H5KDRDQG --every 10m
    """
    changes = given(times) | ({} if task is None else {"task": json.loads(task)})
    if not changes:
        raise click.UsageError("nothing to change: name at least one option")
    _show(client.schedules.update(id, **changes), as_json)


@schedules.command("delete")
@click.argument("id")
@yes_option
@remote
def delete(client: Client, as_json: bool, *, id: str, yes: bool) -> None:  # noqa: A002
    """Delete a schedule; the tasks that it made stay.

    \b
    Without being asked:
      aq schedules delete sch_01JDE3G5P00007CMS8H5KDRDQG --yes
    """
    found = client.schedules.get(id)
    confirm(f"Delete schedule {found.id} ({_when(found)} → {found.task.get('webhook_url')})?", yes)
    client.schedules.delete(id)
    if as_json:
        print_json({"deleted": id})
    else:
        click.echo(f"deleted {id}")


@schedules.command("pause")
@click.argument("id")
@remote
def pause(client: Client, as_json: bool, *, id: str) -> None:  # noqa: A002
    """Let its times pass without a task.

    \b
    Until it is resumed:
      aq schedules pause sch_01JDE3G5P00007CMS8H5KDRDQG
    """
    _show(client.schedules.pause(id), as_json)


@schedules.command("resume")
@click.argument("id")
@remote
def resume(client: Client, as_json: bool, *, id: str) -> None:  # noqa: A002
    """Go on with a paused schedule.

    \b
    What passed meanwhile is not made up for:
      aq schedules resume sch_01JDE3G5P00007CMS8H5KDRDQG
    """
    _show(client.schedules.resume(id), as_json)


@schedules.command("run")
@click.argument("id")
@remote
def run(client: Client, as_json: bool, *, id: str) -> None:  # noqa: A002
    """Make its task now, beside its times.

    \b
    Also while it is paused:
      aq schedules run sch_01JDE3G5P00007CMS8H5KDRDQG
    """
    task = client.schedules.run(id)
    if as_json:
        print_results(task)
    else:
        click.echo(task_line(task))
