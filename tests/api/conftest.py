"""Both doors: through the lane, and past it to Quart alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.api_world import LANE


@pytest.fixture(params=[True, False], ids=["lane", "quart"])
def both_doors(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test is run twice: what it sends to the routes of the lane meets the lane, or does not."""
    before = LANE.set(request.param)
    yield
    LANE.reset(before)
