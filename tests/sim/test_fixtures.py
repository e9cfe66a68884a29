"""What docs/testing.md shows works as it is written there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from aq.opening import open_engine
from aq.outcome import ErrorType
from aq.sim import SimulatedNetwork, run
from aq.sim.planting import planted
from tests.engine.support import ended, submit

PAGE = Path(__file__).parents[2] / "docs/testing.md"


def test_the_page(tmp_path: Path) -> None:
    conftest, test = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_orders.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 passed" in shown.stdout, shown.stdout


def test_nobody_listens_where_no_endpoint_is() -> None:
    network = SimulatedNetwork()

    async def main() -> None:
        async with open_engine(transport=network) as engine:
            view = await ended(engine, await submit(engine, max_retries=0))
            assert view.task.error_type is ErrorType.CONNECT

    run(0, main)


def test_a_world_that_waits_for_nothing_is_told() -> None:
    with pytest.raises(RuntimeError, match="everybody waits"):
        run(0, trio.sleep_forever)


def test_what_was_planted_is_taken_out_again() -> None:
    before = trio.sleep
    with pytest.raises(KeyError), planted("trio:sleep", lambda sleep: None):
        raise KeyError
    assert trio.sleep is before
