"""``python -m tests.engine``: `test_machine` at random; in the tests it does the same each time.

python -m tests.engine --examples 3000
python -m tests.engine --examples 3000 --seed 7
"""

from __future__ import annotations

import secrets
import sys
import time

import click
from hypothesis import settings

from tests.engine.test_machine import run

_ON_DISK = 3
"""On SQLite, which is slower, one for so many on memory."""


@click.command()
@click.option("--examples", type=click.IntRange(1), default=300, show_default=True, help="On memory.")
@click.option("--seed", type=int, help="Repeats a run; a new one if none is given.")
def main(examples: int, seed: int | None) -> None:
    """Run random programs against the engine, on memory and a third as many on SQLite.

    Exit code 0 if the model agreed with all of them, else 1, and the shortest program that it does not.
    """
    number, began = secrets.randbits(32) if seed is None else seed, time.monotonic()
    again = f"{sys.executable} -m tests.engine --examples {examples} --seed {number}"
    settings.register_profile("seeded", settings.get_profile("default"), database=None)
    settings.load_profile("seeded")
    for durable, some in ((False, examples), (True, -(-examples // _ON_DISK))):
        try:
            run(durable, some, number)
        except BaseException as error:
            error.add_note(f"again: {again}")
            raise
        click.echo(
            f"{some:,} programs on {'SQLite' if durable else 'memory'}, {time.monotonic() - began:.0f} s"
        )
    click.echo(f"the model agrees with all of them; again: {again}")


if __name__ == "__main__":
    main()
