"""The command line of ``benchmarks.fuzz``."""

from __future__ import annotations

import sys
import tempfile

import click
import trio

from benchmarks import fuzz
from benchmarks.fuzz.run import Run


@click.command(help=f"\b\n{fuzz.__doc__}")
@click.option("--requests", default=100_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--case", "only", type=int, help="Only the case of this number.")
def main(requests: int, seed: int, only: int | None) -> None:
    with click.progressbar(length=requests, label="requests", file=sys.stderr) as bar:
        run = Run(requests, seed, bar.update)
        with tempfile.TemporaryDirectory() as directory:
            trio.run(run, directory, only)
    counts = ", ".join(f"{status}: {number:,}" for status, number in sorted(run.ledger.statuses.items()))
    click.echo(
        f"{run.made:,} requests in {run.seconds:.0f} s: {run.made / run.seconds:.0f} a second; seed {seed}"
    )
    click.echo(f"answers by status: {counts}")
    click.echo(f"tasks acknowledged: {len(run.ledger.told):,}; deletions: {run.ledger.deletions:,}")
    if run.memory:
        click.echo(f"memory: {run.memory[0] >> 20} MiB at the start, {run.memory[-1] >> 20} MiB at the end")
    click.echo(f"asked twice, since the first time had no answer within a second: {run.doubted}")
    for fault in run.faults[:20]:
        click.echo(f"\n{fault}")
    click.echo(f"faults: {len(run.faults)}")
    sys.exit(1 if run.faults else 0)


if __name__ == "__main__":
    main()
