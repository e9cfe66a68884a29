"""pytest fixtures: an engine on virtual time, and a scripted network. Nothing else of aq imports pytest.

pytest_plugins = ["aq.sim.fixtures"]      # in conftest.py
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeAlias

import pytest

from aq.actors.services import Sizes
from aq.engine import Engine
from aq.opening import open_engine
from aq.sim.clock import run, wall
from aq.sim.network import SimulatedNetwork

Scenario: TypeAlias = Callable[[Engine], Awaitable[None]]


@pytest.fixture
def simulated_network() -> SimulatedNetwork:
    """Where the webhooks of `simulated` go; put endpoints into its ``endpoints``."""
    return SimulatedNetwork()


@pytest.fixture
def simulated(simulated_network: SimulatedNetwork) -> Callable[..., None]:
    """``simulated(scenario)`` awaits ``scenario(engine)`` on virtual time, with an engine on that network.

    Options are those of `open_engine`, and ``seed``, which decides every chance there is. What was kept for
    long enough is deleted once an hour, unless ``sizes`` say otherwise: a month passes in milliseconds.
    """

    def live(scenario: Scenario, *, seed: int = 0, **options: Any) -> None:
        async def main() -> None:
            chance, sizes = Random(seed), Sizes(tidied=3_600)  # noqa: S311 -- it is to be repeated
            given = {"transport": simulated_network, "random": chance, "wall": wall, "sizes": sizes}
            async with open_engine(**{**given, **options}) as engine:
                await scenario(engine)

        run(seed, main)

    return live
