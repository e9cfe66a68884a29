"""How the limit of open files is shared out."""

from __future__ import annotations

import pytest

from aq.server import share_files


@pytest.mark.parametrize(
    ("limit", "asked", "attempts", "clients"),
    [
        (1 << 20, 1_000, 1_000, 10_000),
        (20_000, 30_000, 19_800, 100),
        (1_024, 1_000, 824, 100),
        (1_024, 100, 100, 824),
        (64, 1_000, 1, 100),
    ],
)
def test_attempts_never_take_the_last_200_files(limit: int, asked: int, attempts: int, clients: int) -> None:
    assert share_files(limit, asked) == (attempts, clients)
