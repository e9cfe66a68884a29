"""``python -m tests.sim.mutants``: every fault planted in turn, and the seed that shows it.

python -m tests.sim.mutants --seeds 500 --jobs 2
python -m tests.sim.mutants --only "a torn batch"
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import click

from aq.sim.simulate import simulate
from tests.sim.mutants import MUTANTS, WITHIN, Mutant, Search, search

CONTROL = "nothing planted"


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=WITHIN, show_default=True, help="At most, each.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--only", multiple=True, metavar="NAME", help="This one; may be given again.")
def main(seeds: int, jobs: int, only: tuple[str, ...]) -> None:
    """Plant each fault and run seeds until one shows it; then the same seeds with nothing planted.

    Exit code 0 if every fault is found under the name of a promise that it breaks, and no seed without a
    fault breaks one, else 1.
    """
    mutants = [mutant for mutant in MUTANTS if not only or mutant.name in only]
    if unknown := set(only) - {mutant.name for mutant in MUTANTS}:
        raise click.BadParameter(", ".join(sorted(unknown)), param_hint="--only")
    began, found = time.monotonic(), dict[str, Search]()
    with click.progressbar(length=len(mutants) + 1, label="faults", file=sys.stderr, show_pos=True) as bar:
        for result in _searches(mutants, seeds, jobs):
            found[result.name] = result
            bar.update(1)
    width = max(len(mutant.name) for mutant in mutants)
    for mutant in mutants:
        click.echo(_line(found[mutant.name], mutant, width))
    control = found[CONTROL]
    clean = control.violation is None
    verdict = "clean" if clean else f"BROKEN: {control.violation}"
    click.echo(_row(control, width, verdict))
    missed = sum(not found[mutant.name].found for mutant in mutants)
    took = time.monotonic() - began
    click.echo(f"{len(mutants)} faults, {missed} not found, {took:.0f} s")
    sys.exit(1 if missed or not clean else 0)


def _line(result: Search, mutant: Mutant, width: int) -> str:
    if result.violation is not None:
        verdict = result.violation.promise
    elif result.odd is not None:
        verdict = f"NOT FOUND as {' or '.join(mutant.promises)}, but: {result.odd}"
    else:
        verdict = "NOT FOUND"
    return _row(result, width, verdict)


def _row(result: Search, width: int, verdict: str) -> str:
    return f"{result.name:{width}}  {result.seeds:5,} seeds  {result.seconds:6.1f} s  {verdict}"


def _searches(mutants: Sequence[Mutant], seeds: int, jobs: int) -> Iterator[Search]:
    """As they end."""
    if jobs == 1:
        yield from (search(mutant, range(seeds)) for mutant in mutants)
        yield _control(seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        tasks = [pool.submit(_control, seeds)]
        tasks += [pool.submit(_search, mutant.name, seeds) for mutant in mutants]
        yield from (task.result() for task in as_completed(tasks))


def _search(name: str, seeds: int) -> Search:
    """A mutant goes to another process by its name: faults are functions made on the spot."""
    return search(next(mutant for mutant in MUTANTS if mutant.name == name), range(seeds))


def _control(seeds: int) -> Search:
    """The same with nothing planted, where any violation is one too many."""
    began, count, broken = time.monotonic(), 0, None
    for count in range(1, seeds + 1):
        if violations := simulate(count - 1).violations:
            broken = violations[0]
            break
    return Search(name=CONTROL, seeds=count, seconds=time.monotonic() - began, violation=broken)


if __name__ == "__main__":
    main()
