"""Every row of the table, each figure beside what was measured with it in the same run.

    python -m benchmarks [--quick] [--runs N] [--only SCENARIO]… [--backlog N]… [--publish]

The scenarios go in turn, run by run, so that a slow moment of the machine hits all of them alike. Results are
kept in .bench/results/; with --publish also in benchmarks/results/, with plots in docs/benchmarks/.
Exit code 0: all was measured, and the table says which row falls short; 1: something could not be measured.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import trio
from attrs import evolve
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aq.bench.programs import open_sink
from benchmarks import report
from benchmarks.lab import QUICK, Lab, Sizes
from benchmarks.results import PAGE, PRIVATE, PUBLISHED, Results, this_machine
from benchmarks.rows import Judged
from benchmarks.scenarios import SCENARIOS

FAILURES: Final = (AssertionError, OSError, trio.TooSlowError, httpx.HTTPError, subprocess.CalledProcessError)
"""What can go wrong with one step alone."""


def steps(names: Sequence[str], runs: int) -> list[str]:
    """What is run, in order: all in turn, and what is run once at the end."""
    often = [name for name in names if not SCENARIOS[name].once]
    return [*often * runs, *(name for name in names if SCENARIOS[name].once)]


async def measure(results: Results, names: Sequence[str], runs: int, sizes: Sizes) -> None:
    """Results grow with each step. A step that fails is named, and the others go on."""
    with progress() as bar:
        todo = steps(names, runs)
        task = bar.add_task("", total=len(todo))
        async with open_sink() as sink:
            for name in todo:
                bar.update(task, description=name)
                try:
                    results.add(name, await SCENARIOS[name].run(Lab(sizes, sink)))
                except FAILURES as error:
                    results.missing[name] = reason(error)
                bar.advance(task)


def reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).split("\n")[0]


def progress() -> Progress:
    """On stderr, and drawn seldom: drawing costs the machine that is measured."""
    return Progress(
        TextColumn("{task.description:12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        refresh_per_second=1,
    )


def main() -> None:
    arguments = _arguments()
    sizes = QUICK if arguments.quick else Sizes()
    if arguments.backlog:
        sizes = evolve(sizes, backlog=tuple(arguments.backlog))
    results = Results(this_machine(" ".join(["python -m benchmarks", *sys.argv[1:]])))
    try:
        run(measure, results, arguments.only or list(SCENARIOS), arguments.runs, sizes)
    finally:
        keep(results, arguments.name)
    lines = report.judged(results)
    report.show(results, lines)
    if arguments.publish:
        publish(results, arguments.name, lines)
    sys.exit(1 if results.missing else 0)


def run(measure: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Also when it is interrupted or terminated, all its processes are ended first."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        trio.run(measure, *arguments)
    except* KeyboardInterrupt:
        sys.exit("interrupted")


def keep(results: Results, name: str, folder: Path = PRIVATE) -> None:
    """Nothing where nothing was measured."""
    if results.runs:
        results.write(folder / f"{name}.json")


def publish(
    results: Results, name: str, lines: Sequence[Judged], page: Path = PAGE, folder: Path = PUBLISHED
) -> None:
    """Into the repository: the figures into a folder, their table and plots into the docs' page."""
    from benchmarks.plots import draw  # matplotlib takes a while to load

    keep(results, name, folder)
    pictures = draw(results, lines, page.parent / page.stem, name)
    images = [f"![{path.stem}]({path.relative_to(page.parent)})" for path in pictures]
    text = "\n\n".join([report.markdown(results, lines), *images])
    begin, end = (f"<!-- {name}: {where} -->" for where in ("measured", "end"))
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def _arguments() -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python -m benchmarks"
    )
    parser.add_argument("--quick", action="store_true", help="everything small: does it work?")
    parser.add_argument("--runs", type=int, default=5, help="of each scenario; the table shows medians")
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="repeatable")
    parser.add_argument("--backlog", action="append", type=int, metavar="N", help="depths; repeatable")
    parser.add_argument("--name", default="bench", help="of the file that keeps the results")
    parser.add_argument("--publish", action="store_true", help="keep them in the repository, and draw plots")
    arguments = parser.parse_args()
    if arguments.publish and (arguments.quick or (arguments.only and arguments.name == "bench")):
        parser.error(
            "only whole runs are published: without --quick, and without --only or under another --name"
        )
    return arguments


if __name__ == "__main__":
    main()
