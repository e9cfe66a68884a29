"""Each test that takes ``face`` is run by every kind of client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.faces import FACES


@pytest.fixture(params=FACES, ids=lambda face: str(face.__name__))
def face(request: pytest.FixtureRequest) -> Any:
    return request.param
