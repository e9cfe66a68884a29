"""Pictures of results, as SVG.

python -m benchmarks.plots FILE FOLDER     draws the results that were kept in FILE into FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import compared, judged, number
from benchmarks.results import Results, read
from benchmarks.rows import Judged

OURS, SHORT = "#2563eb", "#dc2626"
_WIDEST = 3.0
"""Bars that would be longer are cut."""
STYLE: Any = {
    "svg.hashsalt": "asyncqueue",  # the same figures give the same file
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(results: Results, lines: Sequence[Judged], folder: Path, name: str) -> list[Path]:
    """Every picture that the results have figures for: ``NAME-targets.svg``, ``NAME-backlog.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with mpl.rc_context(STYLE):
        for kind, figure in (("targets", targets(lines)), ("backlog", backlog(results))):
            if figure is not None:
                path = folder / f"{name}-{kind}.svg"
                figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
                made.append(path)
    return made


def targets(lines: Sequence[Judged]) -> Figure | None:
    """How each judged row stands to its target: 1 is the target itself, more is better."""
    shown = [(line, margin) for line in lines if (margin := _margin(line)) is not None][::-1]
    if not shown:
        return None
    figure = Figure(figsize=(10, 0.3 * len(shown) + 0.8))
    axes = figure.add_subplot()
    for place, (line, margin) in enumerate(shown):
        axes.barh(place, min(margin, _WIDEST), 0.62, color=OURS if line.held else SHORT)
        axes.text(min(margin, _WIDEST), place, f" {_told(line)}", va="center", fontsize=8)
    axes.axvline(1, color="#64748b", linewidth=1)
    axes.set_yticks(range(len(shown)), [line.row.what for line, _ in shown])
    axes.set_xlabel("times its target (blue: held, red: falls short)")
    axes.set_xlim(0, _WIDEST * 1.5)
    return figure


def _margin(line: Judged) -> float | None:
    """How many times better than its target a row is; None where there is no such number."""
    row, value = line.row, line.ours if line.compared is None else line.compared
    if row.excess or (row.least is None and not row.most):
        return None
    return value / row.least if row.least is not None else (row.most or 0) / value if value else _WIDEST


def _told(line: Judged) -> str:
    if line.compared is None:
        return f"{number(line.ours)} {line.row.unit} ({line.row.target()})"
    return f"{compared(line)} × {line.row.called} ({line.row.target()})"


def backlog(results: Results) -> Figure | None:
    """What depends on how many tasks wait: speeds, memory, reading."""
    runs = results.runs.get("backlog", [])
    depths = sorted({int(name.split("_")[0]) for run in runs for name in run})
    if len(depths) < 2:
        return None
    figures = {name: value for run in runs for name, value in run.items()}
    figure = Figure(figsize=(12, 3.2))
    for place, (title, names, unit) in enumerate(
        (
            ("speed", ("drain", "intake"), "tasks per second"),
            ("memory", ("memory_mib",), "MiB"),
            ("reading", ("list_ms", "cursor_ms", "count_ms", "get_ms"), "ms"),
        ),
        1,
    ):
        axes: Axes = figure.add_subplot(1, 3, place)
        for name in names:
            label = name.removesuffix("_ms").removesuffix("_mib")
            axes.plot(depths, [figures[f"{depth}_{name}"] for depth in depths], marker="o", label=label)
        axes.set(title=title, xscale="log", xlabel="tasks waiting", ylabel=unit)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def main() -> None:
    kept = Path(sys.argv[1])
    results = read(kept)
    for path in draw(results, judged(results), Path(sys.argv[2]), kept.stem):
        print(path)


if __name__ == "__main__":
    main()
