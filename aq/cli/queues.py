"""``aq queues``: their policies, what they hold, and what is done to all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aq.cli.output import confirm, print_fields, print_json, print_results, print_table, yes_option
from aq.cli.policy import policy_fields, policy_options
from aq.cli.service import remote
from aq.cli.values import Moment, given, local, span

if TYPE_CHECKING:
    from aq.client import Client
    from aq.client.results import Queue


@click.group()
def queues() -> None:
    """Set queues up; pause, purge and retry them.

    \b
    What waits, and for how long:
      aq queues list
    """


@queues.command("list")
@remote
def list_(client: Client, as_json: bool) -> None:
    """List queues: how late they are, what they hold, how fast they go.

    \b
    The names, for another program:
      aq queues list --json
    """
    found = client.queues.list()
    if as_json:
        print_results(found)
        return
    print_table(queue_titles(), [queue_row(queue) for queue in found], empty="there are no queues yet")


def queue_titles() -> list[str]:
    """The columns of `queue_row`."""
    return ["queue", "late", "pending", "later", "active", "completed", "failed", "starts/s", "state"]


def queue_row(queue: Queue) -> list[str]:
    """One line about a queue; ``pending`` are those that are due."""
    counts = queue.counts
    numbers = (
        counts.pending - counts.scheduled,
        counts.scheduled,
        counts.active,
        counts.completed,
        counts.failed,
    )
    late = span(queue.lateness) if queue.lateness else ""
    state = "paused" if queue.paused else ""
    return [queue.name, late, *(f"{number:,}" for number in numbers), f"{queue.rates.started:.1f}", state]


@queues.command("get")
@click.argument("name")
@remote
def get(client: Client, as_json: bool, *, name: str) -> None:
    """Show a queue's policy and what it holds.

    \b
    The queue that `aq send` uses unless told otherwise:
      aq queues get default
    """
    _show(client.queues.get(name), as_json)


def _show(queue: Queue, as_json: bool) -> None:
    if as_json:
        print_results(queue)
        return
    rate = queue.rate_limit
    print_fields(
        [
            *zip(queue_titles(), queue_row(queue), strict=True),
            ("created", local(queue.created_at)),
            ("max retries", queue.max_retries),
            ("backoff", f"{queue.retry_backoff}, {queue.retry_delay:g} s to {queue.retry_delay_max:g} s"),
            ("jitter", queue.retry_jitter),
            ("timeout", f"{queue.timeout:g} s"),
            ("concurrency", queue.concurrency),
            ("per destination", queue.destination_concurrency),
            (
                "rate limit",
                rate and f"{rate.per_second:g}/s" + (f", bursts of {rate.burst}" if rate.burst else ""),
            ),
            ("kept", f"completed {queue.retention_completed:g} s, failed {queue.retention_failed:g} s"),
            ("signing secrets", queue.signing_secrets and f"{len(queue.signing_secrets)} of its own"),
        ]
    )


@queues.command("create")
@click.argument("name")
@policy_options
@click.option("--paused", is_flag=True, default=None, help="Starts nothing until it is resumed.")
@remote
def create(client: Client, as_json: bool, *, name: str, **policy: Any) -> None:
    """Make a queue before its first task does.

    What is left out is as it would be then: 3 retries after 1, 2 and 4 s, 30 s for an attempt, 50 in flight.

    \b
    Five starts a second, four at once:
      aq queues create reports --rate-limit 5,10 --concurrency 4
    """
    _show(client.queues.create(name, **policy_fields(policy)), as_json)


@queues.command("set")
@click.argument("name")
@policy_options
@remote
def set_(client: Client, as_json: bool, *, name: str, **policy: Any) -> None:
    """Change a queue's policy, for waiting tasks too.

    \b
    A slower start of retries, and no rate limit any more:
      aq queues set reports --retry-delay 30s --rate-limit none
    """
    changes = policy_fields(policy)
    if not changes:
        raise click.UsageError("nothing to change: name at least one option")
    _show(client.queues.update(name, **changes), as_json)


@queues.command("delete")
@click.argument("name")
@yes_option
@remote
def delete(client: Client, as_json: bool, *, name: str, yes: bool) -> None:
    """Delete a queue that holds nothing pending or active.

    \b
    With the record of its finished tasks:
      aq queues delete reports --yes
    """
    counts = client.queues.get(name).counts
    confirm(f"Delete queue {name} with its {counts.completed + counts.failed:,} finished tasks?", yes)
    client.queues.delete(name)
    if as_json:
        print_json({"deleted": name})
    else:
        click.echo(f"deleted {name}")


@queues.command("pause")
@click.argument("name")
@remote
def pause(client: Client, as_json: bool, *, name: str) -> None:
    """Start nothing more of a queue; running attempts finish.

    \b
    Until it is resumed, also over restarts:
      aq queues pause reports
    """
    _show(client.queues.pause(name), as_json)


@queues.command("resume")
@click.argument("name")
@remote
def resume(client: Client, as_json: bool, *, name: str) -> None:
    """Go on with a paused queue.

    \b
    Or with one that was quarantined after crashes:
      aq queues resume reports
    """
    _show(client.queues.resume(name), as_json)


@queues.command("purge")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only count.")
@yes_option
@remote
def purge(client: Client, as_json: bool, *, name: str, dry_run: bool, yes: bool) -> None:
    """Delete every pending task of a queue.

    It says how many there are before it asks; more may come until you answer.

    \b
    How many would go:
      aq queues purge reports --dry-run
    """
    count = client.queues.purge(name, dry_run=True)
    if count and not dry_run:
        confirm(f"Delete {count:,} pending tasks of queue {name}?", yes)
        count = client.queues.purge(name)
    _counted(count, "would be deleted" if dry_run else "deleted", as_json)


@queues.command("retry")
@click.argument("name")
@click.option("--tag", help="Only those with this tag.")
@click.option("--error-type", help="Only those whose latest attempt ended so: http_5xx, timeout, connect …")
@click.option("--destination", help="Only those to this scheme, host and port: https://example.com.")
@click.option("--failed-after", type=Moment(), help="Only those that failed from then on.")
@click.option("--failed-before", type=Moment(), help="Only those that failed before.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest first.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@yes_option
@remote
def retry(client: Client, as_json: bool, *, name: str, dry_run: bool, yes: bool, **which: Any) -> None:
    """Try the failed tasks of a queue again, all or some.

    It says how many there are before it asks.

    \b
    What an outage of one receiver left behind:
      aq queues retry mail --destination https://example.com --failed-after 2026-01-31T09:00:00Z
    """
    filters = given(which)
    count = client.queues.retry(name, dry_run=True, **filters)
    if count and not dry_run:
        confirm(f"Retry {count:,} failed tasks of queue {name}?", yes)
        count = client.queues.retry(name, **filters)
    _counted(count, "would be retried" if dry_run else "retried", as_json)


def _counted(count: int, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"count": count})
    else:
        click.echo(f"{count:,} tasks {what}")
