"""The seam for spans: of the creation of tasks and of each attempt. Without a tracer it costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from aq.delivery.protocol import Delivery, Runner
from aq.outcome import Outcome
from aq.task import NewTask, Task, TraceContext


class Creation(Protocol):
    """The creation of one task or of a batch, while it is under way."""

    @property
    def trace(self) -> TraceContext:
        """Is kept with the tasks: their attempts belong to it."""
        ...

    def made(self, tasks: Sequence[Task]) -> None:
        """They are durable."""
        ...


class Tracer(Protocol):
    """`aq.telemetry.tracing` has the one for OpenTelemetry. Nothing of it may block or wait."""

    def creating(self, news: Sequence[NewTask], came: TraceContext) -> AbstractContextManager[Creation]:
        """Somebody whose place in a trace is ``came`` has asked for these."""
        ...

    async def attempt(self, runner: Runner, delivery: Delivery) -> Outcome:
        """`aq.actors.runner.run_attempt`, traced: the receiver is told the attempt's own place."""
        ...
