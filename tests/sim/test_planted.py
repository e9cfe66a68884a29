"""The short form of ``make sim-mutants``: most faults, each within few seeds; and the docs' table of all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.sim.mutants import MUTANTS, Mutant, search
from tests.sim.mutants.__main__ import main

FEW = 30
"""Seeds within which those that are `Mutant.quick` are found."""
QUICK = [mutant for mutant in MUTANTS if mutant.quick]
DOCS = Path(__file__).parents[2] / "docs/reliability.md"


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.name)
def test_it_is_found(mutant: Mutant) -> None:
    found = search(mutant, range(mutant.first, mutant.first + FEW))
    assert found.violation is not None, found.odd or f"not in {FEW} seeds: `make sim-mutants` may know others"


def test_the_docs_name_every_one() -> None:
    _, _, section = DOCS.read_text().partition("### The test of the tests\n")
    table = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([\d,]+) \| ([^|]+) \|$", section, re.MULTILINE)
    assert [name for name, _, _ in table] == [mutant.name for mutant in MUTANTS]
    for mutant, (_, _, promise) in zip(MUTANTS, table, strict=True):
        assert promise in mutant.promises


def test_the_command_finds_one_and_says_by_what() -> None:
    shown = CliRunner().invoke(main, ["--only", "a slot too many", "--seeds", "10"])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"^a slot too many .* concurrency$", shown.stdout, re.MULTILINE)
    assert re.search(r"^nothing planted .* clean$", shown.stdout, re.MULTILINE)


def test_the_command_says_what_is_not_found() -> None:
    shown = CliRunner().invoke(main, ["--only", "failed no more", "--seeds", "1"])
    assert shown.exit_code == 1
    assert "NOT FOUND" in shown.stdout
