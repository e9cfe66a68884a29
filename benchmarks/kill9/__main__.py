"""``make kill9``."""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from collections import Counter

import click
import trio

from benchmarks.kill9.run import Run, figures


@click.command()
@click.option("--kills", type=click.IntRange(1), default=200, show_default=True, help="kill -9 so often.")
@click.option(
    "--terms", type=click.IntRange(0), help="SIGTERM so often, too.  [default: an eighth of the kills]"
)
@click.option("--seed", type=int, help="Repeats every choice (not the moments, which are real).")
def main(kills: int, terms: int | None, seed: int | None) -> None:
    """End `aq serve` again and again under load, and judge in the end whether every promise held.

    \b
      make kill9 KILLS=200
      python -m benchmarks.kill9 --kills 20 --seed 7

    Exit code 0 only if all of it did.
    """
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    terms = kills // 8 if terms is None else terms
    again = f"python -m benchmarks.kill9 --kills {kills} --terms {terms} --seed {seed}"
    click.echo(f"again: {again}", err=True)
    began = time.time()
    with (
        tempfile.TemporaryDirectory() as folder,
        click.progressbar(length=kills + terms, label="lives", file=sys.stderr) as bar,
    ):
        run = Run(folder, kills, terms, seed, died=lambda: bar.update(1))
        faults = trio.run(run)
    for rule, line in faults[:50]:
        click.echo(f"{rule}: {line}", err=True)
    told = ", ".join(f"{rule} {times}" for rule, times in Counter(rule for rule, _ in faults).items())
    click.echo(f"{figures(run.ledger, began)}: {told or 'every promise held'}")
    if faults:
        click.echo(f"again: {again}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
