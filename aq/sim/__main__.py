"""``python -m aq.sim``: many seeds, and what they showed.

python -m aq.sim --seeds 500                 seeds 0 to 499
python -m aq.sim --seeds 1 --first 123 --log    one seed again, with everything that could be seen of it
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

import click

from aq.sim.simulate import Report, simulate

CHUNK = 20
"""Seeds that a process is given at once."""


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=500, show_default=True, help="How many.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first one.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--log", is_flag=True, help="Print everything that could be seen.")
@click.option("--hashes", is_flag=True, help="Print the hash of each run.")
def main(seeds: int, first: int, jobs: int, log: bool, hashes: bool) -> None:
    """Run the whole engine in simulated worlds, one for each seed, and judge it from outside.

    Exit code 0 if every promise held in all of them, else 1.
    """
    began = time.monotonic()
    faults, coverage, bad = Counter[str](), Counter[tuple[str, str]](), 0
    with click.progressbar(length=seeds, label="seeds", file=sys.stderr, show_pos=True) as bar:
        for report in _reports(range(first, first + seeds), jobs, log=log):
            bar.update(1)
            faults.update(report.faults)
            coverage.update(report.coverage)
            bad += bool(report.violations)
            _tell(report, hashes=hashes)
    if seeds > 1:
        _table(faults, coverage)
    took = max(time.monotonic() - began, 1e-3)
    click.echo(f"{seeds:,} seeds, {bad:,} broken, {seeds / took:.1f} seeds/s")
    sys.exit(1 if bad else 0)


def _reports(seeds: range, jobs: int, *, log: bool) -> Iterator[Report]:
    if jobs == 1:
        for seed in seeds:
            yield simulate(seed, log=log)
        return
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(jobs) as pool:
        for reports in pool.map(_run, chunks, [log] * len(chunks)):
            yield from reports


def _run(seeds: range, log: bool) -> list[Report]:
    return [simulate(seed, log=log) for seed in seeds]


def _tell(report: Report, *, hashes: bool) -> None:
    for line in report.log:
        click.echo(line)
    if hashes:
        click.echo(f"{report.seed} {report.hash}")
    for violation in islice(report.violations, 3):
        click.echo(f"seed {report.seed}: {violation}")
    if report.violations:
        click.echo(f"    replay it: {sys.executable} -m aq.sim --seeds 1 --first {report.seed} --log")


def _table(faults: Counter[str], coverage: Counter[tuple[str, str]]) -> None:
    """What was done to the engine, and how often clients asked for what in which state."""
    click.echo("faults: " + ", ".join(f"{count:,} {kind}" for kind, count in faults.most_common()))
    states = sorted({state for _, state in coverage})
    width = max(len(what) for what, _ in coverage)
    click.echo(" " * width + "".join(f"{state:>10}" for state in states))
    for what in sorted({what for what, _ in coverage}):
        counts = (coverage[what, state] for state in states)
        click.echo(f"{what:{width}}" + "".join(f"{count or '':>10}" for count in counts))


if __name__ == "__main__":
    main()
