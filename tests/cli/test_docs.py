"""docs/cli.md: its reference is what the commands say of themselves."""

from __future__ import annotations

from tests.cli.reference import PAGE, written


def test_the_reference_is_the_help_of_every_command() -> None:
    page = PAGE.read_text()
    assert page == written(page), "python -m tests.cli.reference"
