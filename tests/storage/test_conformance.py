"""Every storage keeps every promise of aq.storage.protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from aq.storage import open_storage
from aq.storage.conformance import CASES, DURABLE_CASES, Case
from aq.storage.conformance.bench import expect


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_memory(case: Case) -> None:
    await case(lambda: open_storage("memory:"))


@pytest.mark.parametrize("case", [*CASES, *DURABLE_CASES], ids=lambda case: case.__name__)
async def test_sqlite(case: Case, tmp_path: Path) -> None:
    await case(lambda: open_storage(f"sqlite:///{tmp_path}/aq.db"))


def test_expect_raises_whatever_the_interpreter_is_told() -> None:
    with pytest.raises(AssertionError, match="rule 7: expected 1, got 2"):
        expect(7, 2, 1)
