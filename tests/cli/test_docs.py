"""docs/cli.md: its reference is what the commands say of themselves."""

from __future__ import annotations

import re
import shlex

from tests.cli.conftest import Command
from tests.cli.reference import PAGE, written
from tests.dashboard.served import Served


def test_the_reference_is_the_help_of_every_command() -> None:
    page = PAGE.read_text()
    assert page == written(page), "python -m tests.cli.reference"


def test_every_command_line_of_the_page_does_what_it_says(call: Command, server: Served) -> None:
    page = PAGE.read_text().replace("http://127.0.0.1:8080", server.url)
    lines = [
        line for block in re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S) for line in block.splitlines()
    ]
    assert len(lines) > 3
    for line in lines:
        name, *words = shlex.split(line)
        assert name == "aq"
        ended = call(*words)
        assert ended.code == 0, (line, ended.err)
