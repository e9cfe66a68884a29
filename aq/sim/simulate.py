"""`simulate`: one seed, one world, one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from attrs import frozen

from aq.sim.clock import run
from aq.sim.disk import DiskFactory, MemoryDisk
from aq.sim.mix import mixed
from aq.sim.trace import Trace
from aq.sim.verdict import Violation
from aq.sim.world import World


@frozen(kw_only=True)
class Report:
    """What a run has shown. The same seed and the same code give the same ``hash``, on any interpreter."""

    seed: int
    violations: Sequence[Violation]
    hash: str
    """SHA-256 of everything that could be seen."""
    events: int
    faults: Mapping[str, int]
    """What was done to the engine, by kind."""
    coverage: Mapping[tuple[str, str], int]
    """How often clients asked for something, by what it was and the state of what they asked about."""
    log: Sequence[str]
    """Every event, if asked for."""


def simulate(seed: int, *, make_disk: DiskFactory = MemoryDisk, log: bool = False) -> Report:
    """Run the world of a seed and judge it.

    ``make_disk`` is given a source of chance, the weather that the seed has drawn, and the trace to tell of
    its faults; what it makes is an `aq.sim.disk.Disk`: something that opens a storage, again and again, and
    whose power can be cut. Nothing in that storage may wait for threads.
    """
    trace = Trace(kept=log)
    world = World(seed, mixed(Random(seed * 8)), make_disk, trace)  # noqa: S311  # to be repeated
    run(seed, world.run, at_rest=world.at_rest)
    return Report(
        seed=seed,
        violations=tuple(world.observer.verdict.violations),
        hash=trace.hash(),
        events=trace.events,
        faults=dict(trace.faults),
        coverage=dict(trace.coverage),
        log=trace.lines,
    )
