"""The test of the tests: slips planted into the engine one at a time, each of which the simulator must find.

    mutant.py     what a mutant is, and the search for it     starting.py   in what starts, and in which order
    ending.py     in attempts, and what their ends make       keeping.py    in what is kept, and who is told

`python -m tests.sim.mutants` looks for each of them.
"""

from __future__ import annotations

from typing import Final

from tests.sim.mutants.ending import ENDING
from tests.sim.mutants.keeping import KEEPING
from tests.sim.mutants.mutant import WITHIN, Mutant, Search, search
from tests.sim.mutants.starting import STARTING

MUTANTS: Final = [*STARTING, *ENDING, *KEEPING]

__all__ = ["MUTANTS", "WITHIN", "Mutant", "Search", "search"]
