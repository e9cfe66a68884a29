"""The power goes under the whole engine on real SQLite, in worlds that a seed decides."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.powercut.disk import simulated
from tests.powercut.faults import FAULTS, Fault

SEEDS = range(20)
WITHIN = 30
"""Seeds within which a broken promise is found."""
HITS = {
    *("crash", "commit in doubt", "write failed", "read failed", "disk full"),
    *("cut: opening", "cut: migration", "cut: log write", "cut: log sync", "cut: checkpoint", "cut: closing"),
}


def test_every_promise_holds_in_worlds_whose_power_goes(tmp_path: Path) -> None:
    faults = Counter[str]()
    for seed in SEEDS:
        report = simulated(seed, tmp_path / str(seed))
        assert not report.violations, f"seed {seed}: {report.violations[0]}"
        faults.update(report.faults)
    assert faults.keys() >= HITS


def test_a_seed_replays(tmp_path: Path) -> None:
    for seed in SEEDS[:4]:
        once, again = (simulated(seed, tmp_path / f"{seed}-{place}") for place in range(2))
        assert once == again


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_broken_promise_is_found(fault: Fault, tmp_path: Path) -> None:
    """Also the control: the disk does lose what is not synced."""
    reports = (simulated(seed, tmp_path / str(seed), arrange=fault) for seed in range(WITHIN))
    assert any(report.violations for report in reports)
