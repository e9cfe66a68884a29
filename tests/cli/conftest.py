"""A development server for the tests of a module, and the command called against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from tests.cli.cli_world import Ended, aq
from tests.dashboard.served import Served, serving

Command: TypeAlias = Callable[..., Ended]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture
def call(server: Served) -> Command:
    """``aq`` with the address and key of that server in its environment."""

    def called(*args: str, given: str | bytes | None = None) -> Ended:
        return aq(*args, given=given, AQ_URL=server.url, AQ_API_KEY=server.key)

    return called


@pytest.fixture
def hook(server: Served) -> str:
    """A receiver that is content; with ``?status=500`` it is not."""
    return f"{server.url}/dev/receiver"
