"""The table of a run, for people: ours, what stands beside it, the ratio, the target, and what falls short.

python -m benchmarks.report FILE…     prints the tables of results that were kept
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.results import Results, read
from benchmarks.rows import Judged, Row, judge, rows


def judged(results: Results, table: Sequence[Row] | None = None) -> list[Judged]:
    found = [judge(row, results.runs) for row in table or rows(results.runs)]
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
        unit = f" {line.row.unit}" if line.row.unit and line.row.unit != "/s" else line.row.unit
        table.add_row(
            line.row.what,
            number(line.ours) + unit,
            "" if line.beside is None else number(line.beside) + unit,
            line.row.called if line.beside is not None else "",
            compared(line),
            line.row.target(),
            verdict,
        )
    console.print(table)
    console.print()
    _conditions(console, results, lines)
    short = [line for line in lines if line.held is False]
    for line in short:
        named = f" beside {line.row.called}" if line.beside is not None else ""
        told = compared(line) or number(line.ours)
        console.print(f"[red bold]falls short:[/] {line.row.what}{named}: {told}, target {line.row.target()}")
    if not short and any(line.held for line in lines):
        console.print("[green]every target is held[/]")
    for peer, why in results.missing.items():
        console.print(f"not measured: {peer}: {why}")


def _conditions(console: Console, results: Results, lines: Sequence[Judged]) -> None:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    runs = sorted({line.runs for line in lines})
    console.print(
        f"{machine['cores']} cores of {machine['processor']}, {machine['system']}; {versions}\n"
        f"{machine['durability']}\n"
        f"commit {machine['commit']}, {machine['at']}, load before {machine['load_before']}; "
        f"medians of {' or '.join(map(str, runs))} run(s); ratios are medians of the ratios within each run\n"
        "server, load and sink are processes of their own and share the cores: look at the ratios"
    )
    if machine["load_before"] > 0.5:
        console.print("[yellow]the machine was not idle when this began[/]")


def compared(line: Judged) -> str:
    if line.compared is None:
        return ""
    return f"{line.compared:+.2f}" if line.row.excess else f"{line.compared:.2f}"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    for path in sys.argv[1:]:
        results = read(Path(path))
        show(results, judged(results))


if __name__ == "__main__":
    main()
