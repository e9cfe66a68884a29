"""Cut the power many times; `python -m tests.powercut --help`."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click
import trio
import trio.testing

from tests.powercut.cuts import Tally, cut_often
from tests.powercut.engine import cut_engines
from tests.powercut.errors import Trial
from tests.powercut.judge import Violation

_MORE_EVERY: Final = 3
"""Of so many seeds one also goes through disks that fail, and one cuts the whole engine."""


@click.command()
@click.option("--cuts", default=10_000, show_default=True, help="Stop after the seed that reaches so many.")
@click.option("--seed", default=1, show_default=True, help="The first seed; the others follow.")
def main(cuts: int, seed: int) -> None:
    """Cut the power under real SQLite, at seeded moments, and look at every disk that is left.

    Exit code 1 when a promise was broken; the command that replays it is printed.
    """
    logging.disable(logging.WARNING)  # the failing disks are reported in their own way
    tally, began = Tally(), time.monotonic()
    with click.progressbar(length=cuts, label="power cuts", file=sys.stderr) as bar:
        tally.cut = lambda: bar.update(1)
        while tally.cuts < cuts:
            with tempfile.TemporaryDirectory() as directory:
                try:
                    trio.run(
                        one_seed,
                        seed,
                        Path(directory),
                        tally,
                        clock=trio.testing.MockClock(autojump_threshold=0),
                    )
                except Violation as violation:
                    click.echo(f"\nseed {seed}: {violation}")
                    click.echo(f"again: python -m tests.powercut --seed {seed} --cuts 1")
                    sys.exit(1)
            seed += 1
    seconds = time.monotonic() - began
    for kind, number in tally.kinds.most_common():
        click.echo(f"{number:7,}  {kind}")
    click.echo(
        f"{tally.cuts:7,}  cuts in {seconds:.0f} s, {tally.cuts / seconds:.0f} a second: no promise broken"
    )


async def one_seed(seed: int, directory: Path, tally: Tally) -> None:
    """Raises Violation."""
    (directory / "cuts").mkdir()
    await cut_often(seed, directory / "cuts", tally)
    if seed % _MORE_EVERY == 0:
        (directory / "failing").mkdir()
        await Trial(seed, directory / "failing", tally).run()
    if seed % _MORE_EVERY == 1:
        (directory / "engine").mkdir()
        await cut_engines(seed, directory / "engine", tally)


if __name__ == "__main__":
    main()
