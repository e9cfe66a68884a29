"""The whole engine in a simulated world, from a seed that replays (FoundationDB's way). Ships with aq.

For those who test an app on an engine (docs/testing.md):

    clock.py      virtual time, and a scheduler whose chance comes from a seed
    network.py    endpoints that are not there, as they are scripted; every arrival on record
    fixtures.py   both as pytest fixtures

For those who work on the engine (docs/reliability.md), `simulate`, of:

    mix.py        what a seed's world is made of          world.py      lives of the engine, crash and restart
    endpoints.py  temperaments                            disk.py       a disk with weather and power cuts
    workload.py, with asking, requests, rhythms: what clients do
    watch.py      what goes on between engine and disk    ledger.py     what was seen of it
    observer.py, with starts, ends, comings, restarts, rest, clients: judges by what is seen from outside
    trace.py      everything that was seen, and its hash  planting.py   faults on purpose
"""

from __future__ import annotations

from aq.sim.clock import run
from aq.sim.disk import Disk, MemoryDisk, Weather
from aq.sim.network import Answer, Arrival, SimulatedNetwork, answering, dropped
from aq.sim.planting import planted
from aq.sim.simulate import Report, simulate

__all__ = [
    "Answer",
    "Arrival",
    "Disk",
    "MemoryDisk",
    "Report",
    "SimulatedNetwork",
    "Weather",
    "answering",
    "dropped",
    "planted",
    "run",
    "simulate",
]
