"""``python -m tests.sim.hashes``: a seed is the same run on every interpreter, whatever PYTHONHASHSEED is.

python -m tests.sim.hashes --seeds 50 --python python3.11 --python python3.13
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import click

HASH_SEEDS: Final = ("0", "1", "12345")
Hashes: TypeAlias = Mapping[int, str]
"""By seed: the SHA-256 of everything that could be seen of its run."""
_SHOWN: Final = re.compile(r"^(\d+) ([0-9a-f]{64})$", re.MULTILINE)


def hashes(python: str, hash_seed: str, seeds: range) -> Hashes:
    """What an interpreter makes of these seeds. Raises CalledProcessError, also where a promise is broken."""
    command = [python, "-m", "aq.sim", "--hashes", "--first", str(seeds.start), "--seeds", str(len(seeds))]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return {int(seed): found for seed, found in _SHOWN.findall(shown.stdout)}


def differing(found: Sequence[Hashes], seeds: range) -> list[int]:
    """The seeds that are not the same run to all, or were not run by one."""
    return [seed for seed in seeds if found[0].get(seed) is None or len({one.get(seed) for one in found}) > 1]


@click.command()
@click.option("--python", "pythons", multiple=True, default=[sys.executable], help="May be given again.")
@click.option("--seeds", type=click.IntRange(1), default=50, show_default=True, help="How many.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first one.")
def main(pythons: Sequence[str], seeds: int, first: int) -> None:
    """Run the same seeds on each interpreter, with three PYTHONHASHSEEDs, and compare their hashes.

    Each needs aq's dependencies. Exit code 0 if they are all the same, else 1.
    """
    runs, span = [(python, seed) for python in pythons for seed in HASH_SEEDS], range(first, first + seeds)
    with click.progressbar(runs, label="runs", file=sys.stderr, show_pos=True) as bar:
        found = [hashes(python, seed, span) for python, seed in bar]
    different = differing(found, span)
    for seed in different:
        for (python, hash_seed), one in zip(runs, found, strict=True):
            click.echo(f"seed {seed}: {one.get(seed)} on {python} with PYTHONHASHSEED={hash_seed}")
    click.echo(f"{seeds:,} seeds, {len(runs)} runs each, {len(different):,} not the same")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
