"""``aq top``: queues as they live, in a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from aq.cli.output import print_results, print_table
from aq.cli.queues import queue_row, queue_titles
from aq.cli.service import remote
from aq.texts import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from aq.client import Client
    from aq.client.results import Queue, Stats

_STEPS: Final = "▁▂▃▄▅▆▇█"
_SHOWN_POINTS: Final = 60


class Seen(NamedTuple):
    """What the service said at one moment; ``trouble`` is why it has said nothing since."""

    at: datetime
    queues: Sequence[Queue]
    stats: Stats
    trouble: str | None = None


@click.command()
@click.option("--once", is_flag=True, help="Show it once, and end; so it is where no terminal is.")
@click.option(
    "--interval", type=click.FloatRange(0.1, 60), default=1, show_default=True, help="Seconds between looks."
)
@remote
def top(client: Client, as_json: bool, *, once: bool, interval: float) -> None:
    """Watch queues: how late, how full, how fast.

    The latest is first. With --json it is what the service says of queues and statistics. ^C ends it.

    \b
    In the folder of `aq serve --dev`, or with AQ_URL and AQ_API_KEY set:
      aq top
    """
    first = look(client)
    if as_json:
        print_results({"queues": list(first.queues), "stats": first.stats})
    elif once or not sys.stdout.isatty():
        click.echo(headline(client.base_url, first))
        print_table(queue_titles(), rows(first), empty="there are no queues yet")
    else:
        _live(client, first, interval)


def _live(client: Client, seen: Seen, interval: float) -> None:
    from rich.live import Live

    from aq.client import APIError

    patient = client.with_options(max_retries=0)
    with Live(picture(client.base_url, seen), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            try:
                seen = look(patient)
            except APIError as error:
                seen = Seen(seen.at, seen.queues, seen.stats, str(error))
            live.update(picture(client.base_url, seen), refresh=True)


def look(client: Client) -> Seen:
    """Raises APIError."""
    return Seen(datetime.now().astimezone(), client.queues.list(), client.stats())


def rows(seen: Seen) -> list[list[str]]:
    """A line for each queue, the latest first, then the one with most to do."""
    busiest = sorted(
        seen.queues, key=lambda it: (-it.lateness, -it.counts.active, -it.rates.started, it.name)
    )
    return [queue_row(queue) for queue in busiest]


def headline(url: str, seen: Seen) -> str:
    """The whole service in three lines; figures that are not live are said to be so."""
    points = seen.stats.series[-_SHOWN_POINTS:]
    latest = next((it.lateness_ms for it in reversed(points) if it.lateness_ms is not None), None)
    late = "" if latest is None else f"   late p50 {latest.p50:g} ms  p99 {latest.p99:g} ms"
    rates = {
        name: sum(getattr(queue.rates, name) for queue in seen.queues)
        for name in ("created", "started", "completed", "failed")
    }
    state = f"{seen.at:%H:%M:%S}"
    if seen.trouble is not None:
        state = f"NOT LIVE since {state}: {one_line(seen.trouble)}"
    return "\n".join(
        [
            f"{url}   {state}",
            "per second   " + "   ".join(f"{name} {rate:.1f}" for name, rate in rates.items()) + late,
            f"started      {sparkline([point.started for point in points])}",
        ]
    )


def sparkline(values: Sequence[float]) -> str:
    """A column for each value, as high as its part of the greatest."""
    most = max([*values, 1])
    return "".join(_STEPS[round((len(_STEPS) - 1) * value / most)] for value in values)


def picture(url: str, seen: Seen) -> RenderableType:
    """What a terminal shows."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    dim = "" if seen.trouble is None else "dim"
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for title in queue_titles():
        table.add_column(title, justify="left" if title in ("queue", "state") else "right")
    for row in rows(seen):
        table.add_row(*(Text(one_line(cell), style=dim) for cell in row))
    return Group(Text(headline(url, seen), style="" if seen.trouble is None else "bold red"), "", table)
