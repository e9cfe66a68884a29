"""The table: what is promised of which figure, as data. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from attrs import frozen

Runs: TypeAlias = Mapping[str, Sequence[Mapping[str, float]]]
"""The figures of each run, by scenario."""


@frozen(kw_only=True)
class Row:
    """``ours`` of a scenario, beside another of its figures, or alone.

    ``least`` and ``most`` bound the ratio of the two, run by run; with ``excess`` their difference; of a
    figure that stands alone, itself. A row without bounds is told and not judged.
    """

    what: str
    scenario: str
    ours: str
    unit: str
    beside: str | None = None
    called: str = ""
    """What the figure beside is."""
    least: float | None = None
    most: float | None = None
    excess: bool = False

    def target(self) -> str:
        if self.least is None and self.most is None:
            return ""
        sign, bound = ("≥", self.least) if self.least is not None else ("≤", self.most)
        if self.beside is None:
            return f"{sign} {bound:g} {self.unit}".strip()
        return f"{sign} {bound:g} × it" if not self.excess else f"{sign} it + {bound:g} {self.unit}"


@frozen(kw_only=True)
class Judged:
    """A row with its figures: medians over the runs. ``held`` is None where nothing was promised."""

    row: Row
    ours: float
    beside: float | None
    compared: float | None
    """Ratio, or excess."""
    runs: int
    held: bool | None


def judge(row: Row, runs: Runs) -> Judged | None:
    """None where the scenario did not run, or not with this figure."""
    found = [run for run in runs.get(row.scenario, ()) if row.ours in run and (row.beside or row.ours) in run]
    if not found:
        return None
    ours = [run[row.ours] for run in found]
    beside = None if row.beside is None else [run[row.beside] for run in found]
    compared = ours
    if beside is not None:
        compare = _difference if row.excess else _ratio
        compared = [compare(mine, other) for mine, other in zip(ours, beside, strict=True)]
    value = statistics.median(compared)
    held = None
    if row.least is not None or row.most is not None:
        held = (row.least is None or value >= row.least) and (row.most is None or value <= row.most)
    return Judged(
        row=row,
        ours=statistics.median(ours),
        beside=None if beside is None else statistics.median(beside),
        compared=None if beside is None else value,
        runs=len(found),
        held=held,
    )


def _difference(mine: float, other: float) -> float:
    return mine - other


def _ratio(mine: float, other: float) -> float:
    return mine / other if other else 0.0


def rows(runs: Runs) -> list[Row]:
    """Every row; of a backlog, a set for each depth that was measured."""
    found = {int(name.split("_")[0]) for run in runs.get("backlog", ()) for name in run}
    depths = sorted(found)
    return [*ROWS, *(row for depth in depths for row in _backlog(depth, depths[0]))]


def _backlog(depth: int, first: int) -> list[Row]:
    row = partial(Row, scenario="backlog")
    name, huge = f"{depth:,} waiting", depth > 1_000_000
    made = [
        row(
            what=f"{name}: {speed}",
            ours=f"{depth}_{speed}",
            unit="/s",
            beside=f"{first}_{speed}" if depth > first else None,
            called=f"{first:,} waiting",
            least=0.8 if depth > first else None,
        )
        for speed in ("drain", "intake")
    ]
    for what, ours, unit, most in (
        ("filled in batches", "fill", "/s", None),
        ("memory", "memory_mib", "MiB", 200 if huge else 150),
        ("memory for each", "memory_bytes_per_task", "B", None),
        ("disk for each", "disk_bytes_per_task", "B", None),
        ("ready after a restart", "ready_s", "s", 5 if huge else 2),
        ("a page of 100 tasks", "list_ms", "ms", 10),
        ("a page far down, by cursor", "cursor_ms", "ms", 10),
        ("the queue with its counts", "count_ms", "ms", 10),
        ("one task by its id", "get_ms", "ms", 10),
    ):
        made.append(row(what=f"{name}: {what}", ours=f"{depth}_{ours}", unit=unit, most=most))
    return made


_delivery = partial(Row, scenario="drain", beside="ceiling", called="delivery alone")
_intake = partial(Row, scenario="intake", unit="/s")
_latency = partial(Row, scenario="latency", unit="ms")

ROWS: Final[Sequence[Row]] = (
    Row(what="sink and load alone, 64 connections", scenario="sink", ours="rate", unit="/s"),
    _delivery(what="drain of due tasks", ours="rate", unit="/s", least=0.6),
    _delivery(what="drain: processor time for 1,000", ours="cpu", beside="ceiling_cpu", unit="s"),
    Row(
        what="end to end, single POSTs while draining",
        scenario="end-to-end",
        ours="rate",
        unit="/s",
        beside="ceiling",
        called="bare door and delivery, nothing kept",
    ),
    Row(what="end to end: processor time for 1,000", scenario="end-to-end", ours="cpu", unit="s"),
    _intake(
        what="intake, one a request", ours="lane", beside="echo", called="bare httptools echo", least=0.6
    ),
    _intake(
        what="intake, one a request", ours="lane", beside="empty_quart", called="empty Quart route", least=5
    ),
    _intake(
        what="intake, one a request", ours="lane", beside="empty_asgi", called="bare ASGI, same Hypercorn"
    ),
    _intake(
        what="intake without the lane",
        ours="quart",
        beside="empty_quart",
        called="empty Quart route",
        least=0.8,
    ),
    Row(
        what="intake, 500 a request",
        scenario="batches",
        ours="rate",
        unit="/s",
        beside="ceiling",
        called="executemany",
        least=0.5,
    ),
    _latency(
        what="POST to webhook at 20/s, p50",
        ours="p50_ms",
        beside="floor_p50_ms",
        called="empty route, commit, delivery",
        most=1,
        excess=True,
    ),
    _latency(
        what="POST to webhook at 20/s, p50",
        ours="p50_ms",
        beside="bare_p50_ms",
        called="bare door, commit, delivery",
    ),
    _latency(
        what="POST to webhook at 20/s, p99", ours="p99_ms", beside="p50_ms", called="its own p50", most=3
    ),
    Row(what="timers that came early", scenario="timers", ours="early", unit="", most=0),
    Row(what="timers, lateness p99", scenario="timers", ours="p99_ms", unit="ms", most=20),
    Row(
        what="healthy p99 beside one that hangs",
        scenario="hanging",
        ours="beside_p99_ms",
        unit="ms",
        beside="alone_p99_ms",
        called="alone",
        most=1.5,
    ),
    Row(
        what="queues with one delayed task each: memory",
        scenario="queues",
        ours="memory_mib",
        unit="MiB",
        most=250,
    ),
    Row(
        what="queues with one delayed task each: processor",
        scenario="queues",
        ours="idle_percent",
        unit="% of a core",
        most=1,
    ),
)
