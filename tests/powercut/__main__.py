"""Cut the power many times; `python -m tests.powercut --help`."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Final

import click
import trio
import trio.testing

from tests.powercut.cuts import Tally, cut_often
from tests.powercut.disk import simulated
from tests.powercut.errors import Trial
from tests.powercut.judge import Violation

_FAILING_EVERY: Final = 3
"""Of so many seeds one also goes through disks that fail."""


@click.command()
@click.option("--cuts", default=10_000, show_default=True, help="Stop after the seed that reaches so many.")
@click.option("--worlds", default=1_000, show_default=True, help="Of the whole engine, after the cuts.")
@click.option("--seed", default=1, show_default=True, help="The first seed of each; the others follow.")
@click.option("--log", is_flag=True, help="Print everything that could be seen of a world.")
def main(cuts: int, worlds: int, seed: int, log: bool) -> None:
    """Cut the power under real SQLite, at seeded moments, and look at every disk that is left.

    Exit code 1 when a promise was broken; the command that replays it is printed.
    """
    logging.disable(logging.WARNING)  # the failing disks are reported in their own way
    try:
        if cuts:
            _cuts(cuts, seed)
        if worlds:
            _worlds(range(seed, seed + worlds), log=log)
    except Violation as violation:
        click.echo(f"\n{violation}")
        sys.exit(1)
    finally:
        logging.disable(logging.NOTSET)


def _cuts(cuts: int, first: int) -> None:
    """Raises Violation."""
    tally, began = Tally(), time.monotonic()
    with click.progressbar(length=cuts, label="power cuts", file=sys.stderr) as bar:
        tally.cut = lambda: bar.update(1)
        for seed in count(first):
            with tempfile.TemporaryDirectory() as directory:
                clock = trio.testing.MockClock(autojump_threshold=0)
                try:
                    trio.run(_one_seed, seed, Path(directory), tally, clock=clock)
                except Violation as violation:
                    raise _with_command(violation, f"--seed {seed} --cuts 1 --worlds 0") from violation
            if tally.cuts >= cuts:
                break
    _tell(tally.kinds, f"{tally.cuts:,} cuts", time.monotonic() - began)


async def _one_seed(seed: int, directory: Path, tally: Tally) -> None:
    """Raises Violation."""
    (directory / "cuts").mkdir()
    await cut_often(seed, directory / "cuts", tally)
    if seed % _FAILING_EVERY == 0:
        (directory / "failing").mkdir()
        await Trial(seed, directory / "failing", tally).run()


def _worlds(seeds: range, *, log: bool) -> None:
    """Raises Violation."""
    faults, began = Counter[str](), time.monotonic()
    with click.progressbar(seeds, label="worlds", file=sys.stderr) as bar:
        for seed in bar:
            with tempfile.TemporaryDirectory() as directory:
                report = simulated(seed, Path(directory) / "world", log=log)
            for line in report.log:
                click.echo(line)
            if report.violations:
                first = Violation(str(report.violations[0]))
                raise _with_command(first, f"--seed {seed} --cuts 0 --worlds 1 --log")
            faults.update(report.faults)
    _tell(faults, f"{len(seeds):,} worlds", time.monotonic() - began)


def _with_command(violation: Violation, options: str) -> Violation:
    return Violation(f"{violation}\nagain: {sys.executable} -m tests.powercut {options}")


def _tell(kinds: Counter[str], what: str, seconds: float) -> None:
    for kind, number in kinds.most_common():
        click.echo(f"{number:7,}  {kind}")
    click.echo(f"{what} in {seconds:.0f} s: no promise broken")


if __name__ == "__main__":
    main()
