"""Cuts: one life is lived once and cut at many of its operations, then another begins on what was left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

from attrs import Factory, define

from tests.powercut.judge import Violation, judged
from tests.powercut.life import Life, live, small_sizes, varied, version_1
from tests.powercut.machine import STORE, Machine
from tests.powercut.platter import Files, Platter
from tests.storage.deeds import Deed
from tests.storage.model import Model

LIVES: Final = 4
"""Of one store, each on a disk that was left of the one before."""
CUTS: Final = 24
"""Of one life."""


@define
class Tally:
    """What was cut, by kind, and how many disks were looked at."""

    kinds: Counter[str] = Factory(Counter)
    cut: Callable[[], object] = lambda: None
    """Called after each."""

    @property
    def cuts(self) -> int:
        return self.kinds.total()

    def count(self, kind: str) -> None:
        self.kinds[kind] += 1
        self.cut()


async def cut_often(
    seed: int, directory: Path, tally: Tally, *, arrange: Callable[[Machine], object] = lambda machine: None
) -> None:
    """All cuts of one seed; ``directory`` is to be empty. Raises Violation."""
    random = Random(seed)
    model = Model()
    deed = Deed(seed, model)
    files: Files = version_1(directory) if seed % 3 == 0 else {}
    with small_sizes(random):
        for number in range(LIVES):
            machine = varied(Machine(directory / f"life-{number}" / STORE), random)
            arrange(machine)
            life = await live(machine, files, model, deed)
            (directory / f"cut-{number}").mkdir()
            files = await _cut(life, directory / f"cut-{number}", random, tally, model)


async def _cut(life: Life, directory: Path, random: Random, tally: Tally, model: Model) -> Files:
    """Cuts one life; the model is set back to what one of the disks holds, which is returned."""
    platter, chosen = Platter(life.born), life.born
    wanted = sorted(_places(life, random))
    going_on = random.randrange(len(wanted))
    place = 0
    for number, cut in enumerate(wanted):
        for moment in life.log[place:cut]:
            platter.apply(moment.operation)
        place = cut
        files = platter.surviving(random, life.log[cut].operation)
        try:
            truth = await judged(files, directory / str(number), life.allowed(cut))
        except Violation as violation:
            moment = life.log[cut]
            raise Violation(
                f"cut {number} ({moment.kind}, operation {cut} of {len(life.log)}): {violation}"
            ) from violation
        tally.count(life.log[cut].kind)
        if number == going_on:
            chosen = files
            model.state, model.now = truth.model.state, truth.model.now
    return chosen


def _places(life: Life, random: Random) -> Iterator[int]:
    """Places of operations: every other one of a random kind, so that the rare ones are cut too."""
    kinds: dict[str, list[int]] = {}
    for place, moment in enumerate(life.log):
        kinds.setdefault(moment.kind, []).append(place)
    for number in range(CUTS):
        yield (
            random.choice(random.choice(list(kinds.values())))
            if number % 2
            else random.randrange(len(life.log))
        )
