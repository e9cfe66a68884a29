"""The table of a run, for people: ours, what stands beside it, the ratio, the target, and what falls short.

python -m benchmarks.report FILE…     prints the tables of results that were kept
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.peers import rows as peers
from benchmarks.results import Results, read
from benchmarks.rows import Judged, Row, judge, rows


def judged(results: Results) -> list[Judged]:
    table = peers.ROWS if peers.SCENARIO in results.runs else rows(results.runs)
    found = [judge(row, results.runs) for row in table]
    return [row for row in found if row is not None]


def show(results: Results, lines: Sequence[Judged]) -> None:
    """Print the table, the machine, and plainly which row falls short."""
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    table = Table(
        "", "ours", "beside", "", "ratio", "target", "", box=None, header_style="bold", pad_edge=False
    )
    for column in (1, 2, 4):
        table.columns[column].justify = "right"
    for line in lines:
        verdict = {True: "[green]held[/]", False: "[red bold]SHORT[/]", None: ""}[line.held]
        table.add_row(
            line.row.what,
            with_unit(line.ours, line.row),
            "" if line.beside is None else with_unit(line.beside, line.row),
            line.row.called if line.beside is not None else "",
            compared(line),
            line.row.target(),
            verdict,
        )
    console.print(table)
    console.print()
    console.print("\n".join(conditions(results, lines)))
    short = [line for line in lines if line.held is False]
    for line in short:
        named = f" beside {line.row.called}" if line.beside is not None else ""
        told = compared(line) or number(line.ours)
        console.print(f"[red bold]falls short:[/] {line.row.what}{named}: {told}, target {line.row.target()}")
    if not short and any(line.held for line in lines):
        console.print("[green]every target is held[/]")
    for peer, why in results.missing.items():
        console.print(f"not measured: {peer}: {why}")


def conditions(results: Results, lines: Sequence[Judged]) -> list[str]:
    """What the figures are worth nothing without, line by line."""
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    runs = " or ".join(map(str, sorted({line.runs for line in lines})))
    told = [
        f"`{machine['command']}` on {machine['at']}, commit {machine['commit']}",
        f"{machine['cores']} cores of {machine['processor']}, {machine['system']}; {versions}",
        *machine["durability"].split("\n"),
        f"medians of {runs} run(s); ratios are medians of the ratios within each run",
        "server, load and sink are processes of their own and share the cores: look at the ratios",
    ]
    if machine["load_before"] > 0.5:
        told.append(f"the machine was not idle when this began: load {machine['load_before']}")
    return told


def markdown(results: Results, lines: Sequence[Judged]) -> str:
    """The same for a page: the table, its conditions, what was not measured."""
    rows = [
        [
            line.row.what,
            with_unit(line.ours, line.row),
            "" if line.beside is None else f"{with_unit(line.beside, line.row)}, {line.row.called}",
            compared(line),
            line.row.target(),
            {True: "held", False: "**short**", None: ""}[line.held],
        ]
        for line in lines
    ]
    table = [["", "ours", "beside", "ratio", "target", ""], ["---"] * 6, *rows]
    missing = [f"not measured: {peer}: {why}" for peer, why in results.missing.items()]
    listed = [f"- {text}" for text in (*conditions(results, lines), *missing)]
    return "\n".join([*("| " + " | ".join(row) + " |" for row in table), "", *listed])


def compared(line: Judged) -> str:
    if line.compared is None:
        return ""
    return f"{line.compared:+.2f}" if line.row.excess else f"{line.compared:.2f}"


def with_unit(value: float, row: Row) -> str:
    return number(value) + (row.unit if row.unit in ("", "/s") else f" {row.unit}")


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    for path in sys.argv[1:]:
        results = read(Path(path))
        show(results, judged(results))


if __name__ == "__main__":
    main()
