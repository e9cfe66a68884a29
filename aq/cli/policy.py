"""A queue's policy as options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from aq.cli.values import Duration, OrNone, Rate, given

F = TypeVar("F", bound=Callable[..., Any])
_POLICY = (
    click.option("--max-retries", type=click.IntRange(0, 100), help="Of a task that has none of its own."),
    click.option(
        "--retry-backoff",
        type=click.Choice(["exponential", "linear", "fixed"]),
        help="Waits of --retry-delay × 1, 2, 4 …, × 1, 2, 3 …, or × 1.",
    ),
    click.option("--retry-delay", type=Duration(), help="Before the first retry."),
    click.option("--retry-delay-max", type=Duration(), help="No wait is longer."),
    click.option(
        "--retry-jitter", type=click.FloatRange(0, 1), help="Share of the wait that chance may add."
    ),
    click.option("--timeout", type=Duration(), help="Of an attempt."),
    click.option("--concurrency", type=click.IntRange(1, 10_000), help="Attempts in flight."),
    click.option(
        "--destination-concurrency",
        type=OrNone(click.IntRange(1, 10_000)),
        help="In flight per scheme, host and port.",
    ),
    click.option(
        "--rate-limit", type=OrNone(Rate()), help="Starts per second: 10, or 10,20 for bursts of 20."
    ),
    click.option("--retention-completed", type=Duration(), help="How long completed tasks are kept."),
    click.option("--retention-failed", type=Duration(), help="How long failed ones are."),
    click.option("--retention-max-tasks", type=click.IntRange(0), help="Finished tasks kept at most."),
    click.option(
        "--signing-secret",
        "signing_secrets",
        multiple=True,
        envvar="AQ_QUEUE_SIGNING_SECRETS",
        help="whsec_… in place of the service's; twice while they rotate; none: the service's.",
    ),
)


def policy_options(command: F) -> F:
    """Every field of a policy, but whether it is paused."""
    for option in reversed(_POLICY):
        command = option(command)
    return command


def policy_fields(options: dict[str, Any]) -> dict[str, Any]:
    """The fields that options name; ``none`` is JSON's null."""
    found = given(options)
    if found.get("signing_secrets") == ("none",):
        found["signing_secrets"] = None
    return found
