"""The power goes under the whole engine: nothing acknowledged is lost, what is deleted or done stays so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.powercut.cuts import Tally
from tests.powercut.engine import LIVES, cut_engines
from tests.powercut.faults import less_synced
from tests.powercut.judge import Violation
from tests.powercut.machine import Machine

SEEDS = range(6)


async def engines(
    directory: Path, seeds: Sequence[int], arrange: Callable[[Machine], object] = lambda machine: None
) -> int:
    """Returns how many cuts there were. Trio has an order of its own: a seed says not everything."""
    tally = Tally()
    seen: Counter[str] = Counter()
    for seed in seeds:
        (directory / str(seed)).mkdir()
        outside = await cut_engines(seed, directory / str(seed), tally, arrange=arrange)
        seen.update(acknowledged=len(outside.acknowledged))
        seen.update(deleted=len(outside.deleted), completed=len(outside.completed))
    assert min(seen.values()) > 0
    return tally.cuts


async def test_nothing_acknowledged_is_lost_and_nothing_deleted_is_delivered(
    autojump_clock: object, tmp_path: Path
) -> None:
    assert await engines(tmp_path, SEEDS) == LIVES * len(SEEDS)


async def test_a_disk_that_is_not_synced_is_found(autojump_clock: object, tmp_path: Path) -> None:
    with pytest.raises(Violation):
        await engines(tmp_path, range(60), less_synced)
