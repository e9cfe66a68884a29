"""What is measured. Each scenario makes one run of it and gives its figures by name.

A scenario measures its ceiling in the same run, right after what it is the ceiling of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from attrs import frozen

from benchmarks.lab import Lab
from benchmarks.scenarios import backlog, delivering, intake, timing, waiting

Figures: TypeAlias = dict[str, float]


@frozen
class Scenario:
    """``once``: it repeats within itself, or takes so long that one run must do."""

    run: Callable[[Lab], Awaitable[Figures]]
    once: bool = False


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "sink": Scenario(delivering.sink, once=True),
    "drain": Scenario(delivering.drain),
    "end-to-end": Scenario(delivering.end_to_end),
    "intake": Scenario(intake.single),
    "batches": Scenario(intake.batches),
    "latency": Scenario(timing.latency),
    "timers": Scenario(timing.timers),
    "hanging": Scenario(timing.hanging),
    "queues": Scenario(waiting.queues, once=True),
    "backlog": Scenario(backlog.backlog, once=True),
}
