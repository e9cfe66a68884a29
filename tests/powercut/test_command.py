"""The command: what breaks a promise is printed with the one command that shows it again."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import TypeAlias

import pytest
from click.testing import CliRunner

from aq.sim import planted
from tests.powercut.__main__ import main
from tests.powercut.faults import never_synced
from tests.powercut.machine import Machine

Varied: TypeAlias = Callable[[Machine, Random], Machine]


def not_synced(varied: Varied) -> Varied:
    def faulty(machine: Machine, random: Random) -> Machine:
        never_synced(machine)
        return varied(machine, random)

    return faulty


@pytest.mark.parametrize(
    ("options", "where"), [("--cuts 200 --worlds 0", "cuts"), ("--cuts 0 --worlds 4", "disk")]
)
def test_a_broken_promise_comes_with_the_command_that_shows_it_again(options: str, where: str) -> None:
    with planted(f"tests.powercut.{where}:varied", not_synced):
        first, again = told(options)
        command = re.search(r"-m tests\.powercut (.*)", again)
        assert command is not None
        assert told(command[1]) == (first, again)


def told(options: str) -> tuple[str, str]:
    """The last lines: what promise was broken (without the place of its files), and how to see it again."""
    shown = CliRunner().invoke(main, options.split())
    assert shown.exit_code == 1
    first, again = shown.stdout.splitlines()[-2:]
    return re.sub(r"/\S+/", "", first), again
