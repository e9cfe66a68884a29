"""A fault to be planted into the engine, and how it is looked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Final, TypeAlias

import trio
from attrs import frozen

from aq.sim.planting import planted
from aq.sim.simulate import simulate
from aq.sim.verdict import Violation

WITHIN: Final = 500
"""Seeds."""
Fault: TypeAlias = Callable[[Any], Any]


@frozen(kw_only=True)
class Mutant:
    """One slip at one place, and the promises under whose names it must show."""

    name: str
    slip: str
    """What it does, for people."""
    where: str
    """``module:name`` or ``module:Class.name``, as `planted` takes it."""
    fault: Fault
    """Makes what stands there of what stood there."""
    promises: tuple[str, ...]
    also: tuple[tuple[str, Fault], ...] = ()
    """Other places and faults, where the engine guards against one: its second guard is taken away too."""
    first: int = 0
    """With which seed the short form begins: some seeds before one that is known to show it."""
    quick: bool = True
    """Whether the short form looks for it: seldom seen, a rare one would be missed there after any change."""


@frozen(kw_only=True)
class Search:
    """What came of looking for a mutant."""

    name: str
    seeds: int
    """So many were run, the one that shows it among them."""
    seconds: float
    violation: Violation | None
    """The first one under a name that it must have; None if there was none."""
    odd: Violation | None = None
    """What was seen before that under other names, if anything."""

    @property
    def found(self) -> bool:
        return self.violation is not None


def search(mutant: Mutant, seeds: Iterable[int] = range(WITHIN)) -> Search:
    """Run seeds until one breaks a promise by whose name the mutant must be found."""
    began, count = time.monotonic(), 0
    named = odd = None
    with ExitStack() as plants:
        for where, fault in ((mutant.where, mutant.fault), *mutant.also):
            plants.enter_context(planted(where, fault))
        for seed in seeds:
            count += 1
            violations = simulate(seed).violations
            named = next((one for one in violations if one.promise in mutant.promises), None)
            if named is not None:
                break
            odd = odd or next(iter(violations), None)
    return Search(
        name=mutant.name,
        seeds=count,
        seconds=time.monotonic() - began,
        violation=named,
        odd=odd,
    )


# -- faults that serve at many places -----------------------------------------------------------------------
def one_more(number: Any) -> Any:
    return lambda self, now: number(self, now) + 1


def never(anything: Any) -> Any:
    return lambda *arguments: False


def nothing(anything: Any) -> Any:
    return lambda *arguments: None


def none_at_all(anything: Any) -> Any:
    return lambda *arguments: []


def nothing_done(anything: Any) -> Any:
    async def no(*arguments: Any) -> None:
        await trio.lowlevel.checkpoint()

    return no


def zero(number: Any) -> Any:
    return 0
