"""``aq bench``: how fast is my server, or my runner?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from aq.cli.ends import Code, Failure
from aq.cli.output import json_option, print_fields, print_json, say
from aq.cli.service import address, key_option, url_option

if TYPE_CHECKING:
    from aq.bench.load import Report
    from aq.bench.plan import Plan
    from aq.bench.sink import Seen
    from aq.bench.spread import Spread
    from aq.delivery.protocol import Runner

AT_LEAST_ONE = click.IntRange(1)


@click.command(context_settings={"show_default": True})
@url_option
@key_option
@click.option("--seconds", type=click.FloatRange(0.1), help="How long.  [default: 10, without --requests]")
@click.option("--requests", type=AT_LEAST_ONE, help="How many.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Requests a second; else: all it takes."
)
@click.option("--connections", type=AT_LEAST_ONE, default=32, help="Each with one request in flight.")
@click.option("--batch", type=click.IntRange(1, 1_000), default=1, help="Tasks in a request.")
@click.option("--delay", type=click.IntRange(0), default=0, help="Of each task, in seconds.")
@click.option("--payload-bytes", type=AT_LEAST_ONE, default=100, help="Of each task, about.")
@click.option("--queue", default="bench", help="The queue that the tasks go to.")
@click.option("--webhook-url", help="Where webhooks go, instead of a receiver of this command's own.")
@click.option(
    "--patience", type=click.FloatRange(0), default=30.0, help="Seconds that the last webhooks may take."
)
@click.option(
    "--storage", metavar="URL", help="Measure an engine in this process instead: memory: or sqlite:///…"
)
@click.option("--runner", metavar="MODULE:NAME", help="What runs tasks there; else they are done at once.")
@json_option
def bench(
    url: str | None,
    api_key: str | None,
    webhook_url: str | None,
    patience: float,
    storage: str | None,
    runner: str | None,
    as_json: bool,
    **sizes: Any,
) -> int:
    """Measure a server, or an engine with your own runner.

    \b
    As fast as 32 connections go, for ten seconds, in the folder of aq serve --dev:
      aq bench
    500 requests a second, with latencies from when each was meant to be sent:
      aq bench --rate 500 --seconds 60
    Your own code, without HTTP:
      aq bench --storage sqlite:///try.db --runner yourapp.jobs:run

    The server must be allowed to call this machine (--dev, or --allow 127.0.0.0/8). Its tasks stay in
    the queue for as long as that keeps them: use a server that nobody depends on.

    Exit codes: 0 all was accepted and arrived, 1 something was not, 4 the server cannot be reached.
    """
    from aq.bench.plan import Plan

    if runner is not None and storage is None:
        raise click.UsageError("--runner needs --storage: it is for an engine in this process")
    if sizes["seconds"] is None and sizes["requests"] is None:
        sizes["seconds"] = 10.0
    url, key = address(url, api_key) if storage is None else ("", "")
    plan = Plan(url=url, key=key, webhook_url=webhook_url or "http://localhost/", **sizes)
    if storage is None:
        report, seen = _served(plan, None if webhook_url else patience)
    else:
        report, seen = _embedded(plan, storage, _found(runner), patience)
    figures = _figures(report, seen)
    if as_json:
        print_json(figures)
    else:
        print_fields(_lines(figures))
    return _verdict(report, seen)


def _served(plan: Plan, patience: float | None) -> tuple[Report, Seen | None]:
    """What was accepted, and what a receiver of our own has seen; without patience there is none."""
    import asyncio

    import trio
    from attrs import evolve

    from aq.bench.load import run
    from aq.bench.programs import open_sink

    async def sent(plan: Plan) -> Report:
        """The load is made for asyncio; it has a thread, and this loop has nothing to do meanwhile."""
        return await trio.to_thread.run_sync(lambda: asyncio.run(run(plan, _tell)), abandon_on_cancel=True)

    async def measure() -> tuple[Report, Seen | None]:
        if patience is None:
            return await sent(plan), None
        async with open_sink() as sink:
            report = await sent(evolve(plan, webhook_url=sink.url))
            return report, await sink.seen(report.tasks, plan.delay + patience)

    try:
        return trio.run(measure)
    except OSError as error:
        raise Failure(
            f"{plan.url} cannot be reached: {error.strerror or error}",
            Code.UNREACHABLE,
            hint="Start a server with aq serve --dev, or name yours with --url.",
        ) from None


def _embedded(plan: Plan, storage: str, runner: Runner, patience: float) -> tuple[Report, Seen]:
    import trio

    from aq.bench.embedded import Embedded
    from aq.errors import AsyncQueueError

    run = Embedded(plan, runner, patience, _tell)
    try:
        trio.run(run.run, storage)
    except AsyncQueueError as error:
        raise Failure(str(error)) from None
    return run.report, run.seen


def _found(name: str | None) -> Runner:
    """The runner that a ``module:name`` means; modules of the working directory can be meant too."""
    import importlib
    import sys

    from aq.bench.embedded import nothing

    if name is None:
        return nothing
    module, _, attribute = name.partition(":")
    sys.path.insert(0, "")
    try:
        found: Runner = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise click.UsageError(f"--runner {name}: {error}") from None
    return found


def _tell(at: float, recent: Spread) -> None:
    told = recent.summary()
    spans = ", ".join(f"{name} {told[name]:.1f}" for name in ("p50", "p99", "p99.9"))
    say(f"{at:5.0f} s   {recent.count:7,} requests accepted   {spans} ms")


def _figures(report: Report, seen: Seen | None) -> dict[str, Any]:
    figures = {
        "tasks": report.tasks,
        "seconds": round(report.seconds, 3),
        "accepted_per_second": round(report.rate, 1),
        "accepted_ms": report.latencies.summary(),
        "statuses": report.statuses,
        "lost": report.lost,
        "unsent": report.unsent,
        "refusal": report.refusal or None,
    }
    if seen is not None:
        span = seen.last - report.began
        figures["arrived"] = seen.arrivals
        figures["arrived_per_second"] = round(seen.arrivals / span, 1) if seen.arrivals else 0.0
        figures["arrived_ms"] = seen.ages.summary()
    return figures


def _lines(figures: Mapping[str, Any]) -> list[tuple[str, object]]:
    def spans(of: Mapping[str, float]) -> str:
        return "   ".join(f"{name} {value:,.2f}" for name, value in of.items()) + " ms"

    lines: list[tuple[str, object]] = [
        ("accepted", f"{figures['tasks']:,} tasks, {figures['accepted_per_second']:,.0f}/s"),
        ("until accepted", spans(figures["accepted_ms"])),
    ]
    if "arrived" in figures:
        lines += [
            ("arrived", f"{figures['arrived']:,} webhooks, {figures['arrived_per_second']:,.0f}/s"),
            ("until arrived", spans(figures["arrived_ms"])),
        ]
    lines.append(("answers", ", ".join(f"{n:,} × {status}" for status, n in figures["statuses"].items())))
    for name in ("lost", "unsent"):
        lines.append((f"requests {name}", figures[name] or None))
    return lines


def _verdict(report: Report, seen: Seen | None) -> Code:
    if report.failed:
        say(f"{report.failed:,} requests were not accepted. {_detail(report.refusal)}")
        return Code.FAILED
    if seen is not None and seen.arrivals < report.tasks:
        say(f"{report.tasks - seen.arrivals:,} of {report.tasks:,} webhooks have not arrived yet")
        return Code.FAILED
    return Code.DONE


def _detail(refusal: str) -> str:
    """What the first refusal says to a person."""
    try:
        return f"The first answer: {json.loads(refusal)['error']}"
    except (ValueError, KeyError, TypeError):
        return f"The first answer: {refusal}" if refusal else ""
