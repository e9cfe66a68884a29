"""Power cuts under SQLite: what was acknowledged is there, a unit is wholly there or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.powercut.cuts import CUTS, LIVES, Tally, cut_often
from tests.powercut.faults import FAULTS, Fault
from tests.powercut.judge import Violation

SEEDS = range(6)
MOST_CUTS = 100
"""A broken promise is found by so many."""
KINDS = {
    "opening",
    "migration",
    "log made or cut",
    "log write",
    "log sync",
    "checkpoint",
    "giving pages back",
    "closing",
}


async def test_nothing_acknowledged_is_lost_whenever_the_power_goes(tmp_path: Path) -> None:
    tally = Tally()
    for seed in SEEDS:
        (tmp_path / str(seed)).mkdir()
        await cut_often(seed, tmp_path / str(seed), tally)
    assert tally.cuts == len(SEEDS) * LIVES * CUTS
    assert set(tally.kinds) == KINDS, "each kind of moment was hit"


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_broken_promise_is_found(fault: Fault, tmp_path: Path) -> None:
    """Also the control: the disk does lose what is not synced."""
    tally = Tally()
    with pytest.raises(Violation):
        await cut_often(1, tmp_path, tally, arrange=fault)
    assert tally.cuts < MOST_CUTS
