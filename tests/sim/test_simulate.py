"""Seeds: every promise holds in each of their worlds, and each of them replays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest
from click.testing import CliRunner
from trio._core import _run

from aq.sim.__main__ import main
from aq.sim.simulate import simulate

SEEDS = range(300)
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
    found = {}
    for hash_seed in ("0", "1", "12345"):
        command = [sys.executable, "-m", "aq.sim", "--hashes"]
        command += ["--first", str(HASHED.start), "--seeds", str(len(HASHED))]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        found[hash_seed] = shown.stdout.splitlines()[: len(HASHED)]
    expected = [f"{seed} {simulate(seed).hash}" for seed in HASHED]
    assert found == dict.fromkeys(found, expected)
    assert len({line.split()[1] for line in expected}) == len(expected)


def test_trio_is_left_as_it_was() -> None:
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    simulate(0)
    assert before == (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate())


def test_the_command_shows_a_seed_with_its_log() -> None:
    shown = CliRunner().invoke(main, ["--seeds", "1", "--first", "3", "--log"])
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[:-1] == list(simulate(3, log=True).log)
