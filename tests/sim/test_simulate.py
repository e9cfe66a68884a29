"""Seeds: every promise holds in each of their worlds, and each of them replays."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from attrs import evolve
from click.testing import CliRunner
from trio._core import _run

from aq.errors import StorageCorruptError
from aq.sim.__main__ import main
from aq.sim.disk import MemoryDisk, Weather
from aq.sim.simulate import simulate
from aq.sim.trace import Trace
from aq.storage.protocol import Storage
from tests.sim.hashes import HASH_SEEDS, differing, hashes

SEEDS = range(500)
STEP = 50
HASHED = range(1_000, 1_012)


@pytest.mark.parametrize("first", SEEDS[::STEP])
def test_seeds(first: int) -> None:
    faults = Counter[str]()
    for seed in range(first, first + STEP):
        report = simulate(seed)
        assert not report.violations, f"seed {seed}: {report.violations[0]}"
        faults.update(report.faults)
    assert faults["crash"] > STEP / 2  # the worlds are not all fair weather
    assert len(faults) > 4


def test_a_seed_replays_whatever_the_seed_of_hashes() -> None:
    found = [hashes(sys.executable, hash_seed, HASHED) for hash_seed in HASH_SEEDS]
    here = {seed: simulate(seed).hash for seed in HASHED}
    assert not differing([here, *found], HASHED)
    assert len(set(here.values())) == len(HASHED)


def test_a_seed_that_differs_or_is_missing_is_told() -> None:
    same = {1: "a", 2: "b", 3: "c"}
    assert differing([same, same], range(1, 4)) == []
    assert differing([same, {**same, 2: "d"}], range(1, 4)) == [2]
    assert differing([{1: "a"}, {1: "a"}], range(1, 3)) == [2]


class Broken(MemoryDisk):
    """It cannot be opened any more when the faults are over."""

    healed = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Storage]:
        if self.healed:
            raise StorageCorruptError("damaged")
        async with super().open() as storage:
            yield storage

    def heal(self) -> None:
        self.healed = True


def test_a_disk_that_cannot_be_opened_is_a_violation() -> None:
    told = [violation.told for violation in simulate(0, make_disk=Broken).violations]
    assert len(told) == 2, "of the last life, and of the look at what it left"
    assert all("damaged" in text for text in told)


def test_an_engine_may_give_up_a_disk_that_fails_for_long() -> None:
    def failing(random: Random, weather: Weather, trace: Trace) -> MemoryDisk:
        return MemoryDisk(random, evolve(weather, fails=1), trace)

    report = simulate(15, make_disk=failing)
    assert not report.violations
    assert report.faults["gave up"]


def test_trio_is_left_as_it_was() -> None:
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    simulate(0)
    assert before == (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate())


def test_the_command_shows_a_seed_with_its_log() -> None:
    shown = CliRunner().invoke(main, ["--seeds", "1", "--first", "3", "--log"])
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[:-1] == list(simulate(3, log=True).log)
