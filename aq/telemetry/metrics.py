"""The metrics of one engine as Prometheus wants them, read at the moment in which it asks.

There is no registry beyond one scrape, so any number of engines in one process do not know of each other.
The counts are copied in the event loop, which takes well under a millisecond; the text is made of the copy in
a thread, so that even a hundred busy queues keep nothing waiting.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

import trio
from attrs import define, field, frozen
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from aq.engine import Engine, EngineStatistics
from aq.errors import AsyncQueueError
from aq.instants import SECOND, Instant
from aq.queues import QueueView
from aq.telemetry import catalogue as all_of
from aq.telemetry.catalogue import Kind, Metric
from aq.telemetry.traffic import Traffic
from aq.totals import OTHER, Histogram, Outcomes, Totals
from aq.version import __version__

NONE: Final = "none"
"""The ``error_type`` of a success."""
STATES: Final = ("due", "scheduled", "active", "completed", "failed")
"""Of tasks; the first two are ``pending``."""


@define
class Standing:
    """How the tasks of a queue stand, or of several together."""

    queues: int = 0
    tasks: dict[str, int] = field(factory=lambda: dict.fromkeys(STATES, 0))
    late_us: int = 0
    paused: int = 0
    concurrency: int = 0

    def add(self, view: QueueView) -> None:
        counts, backlog = view.queue.counts, view.backlog
        self.queues += 1
        scheduled = min(backlog.scheduled, counts.pending)
        found = counts.pending - scheduled, scheduled, counts.active, counts.completed, counts.failed
        for state, number in zip(self.tasks, found, strict=True):
            self.tasks[state] += number
        if backlog.oldest_due_at is not None:
            self.late_us = max(self.late_us, view.at - backlog.oldest_due_at)
        self.paused += view.queue.policy.paused
        self.concurrency += view.queue.policy.concurrency


@frozen(kw_only=True, eq=False)
class Reading(Collector):
    """Everything at one moment. ``standings`` are by label; None when the storage could not be read."""

    totals: Totals
    statistics: EngineStatistics
    standings: dict[str, Standing] | None
    quarantined: int
    writable: bool
    draining: bool
    events: int
    clock_difference: float
    opened_at: Instant
    traffic: Traffic | None

    def collect(self) -> Iterator[Family]:
        yield from self._of_tasks()
        yield from self._of_the_engine()
        if self.traffic is not None:
            yield from _of_the_server(self.traffic)

    def _of_tasks(self) -> Iterator[Family]:
        queues = self.totals.queues.items()
        yield _histograms(all_of.LATENESS, [((name,), of.late_us) for name, of in queues])
        yield _histograms(all_of.ATTEMPT_SECONDS, [((name,), of.took_us) for name, of in queues])
        yield _numbers(
            all_of.ATTEMPTS,
            [((name, *pair), n) for name, of in queues for pair, n in _by_outcome(of.outcomes)],
        )
        yield _numbers(all_of.CREATED, [((name,), of.created) for name, of in queues])
        yield _numbers(all_of.RETRIED, [((name,), of.retried) for name, of in queues])
        yield _numbers(all_of.DELETED, [((name,), of.deleted) for name, of in queues])
        completed = [((name, "completed", "ok"), of.completed) for name, of in queues]
        failed = [
            ((name, "failed", str(reason)), n) for name, of in queues for reason, n in of.failed.items()
        ]
        yield _numbers(all_of.FINISHED, [*completed, *failed])
        yield _numbers(all_of.CALLBACKS, _by_outcome(self.totals.callbacks.outcomes))
        if self.standings is not None:
            yield from _standing(self.standings)

    def _of_the_engine(self) -> Iterator[Family]:
        statistics, storage = self.statistics, self.totals.storage
        yield _numbers(all_of.STORAGE_ERRORS, [((kind,), n) for kind, n in storage.errors.items()])
        yield _histograms(all_of.COMMIT_SECONDS, [((), storage.took_us)])
        yield _histograms(all_of.COMMIT_UNITS, [((), storage.units)], unit=1)
        yield _numbers(all_of.BUILD, [((__version__, platform.python_version()), 1)])
        for metric, value in (
            (all_of.IN_FLIGHT, statistics.attempts_in_flight),
            (all_of.MAX_ATTEMPTS, statistics.max_attempts),
            (all_of.HELD, statistics.destinations_held),
            (all_of.QUARANTINED, self.quarantined),
            (all_of.SUPERVISORS, statistics.supervisors),
            (all_of.RESTARTS, statistics.restarts),
            (all_of.WAITING, statistics.writes_waiting),
            (all_of.INTAKE, statistics.intake_bytes),
            (all_of.WRITABLE, self.writable),
            (all_of.EVENTS, self.events),
            (all_of.DRAINING, self.draining),
            (all_of.CLOCK, self.clock_difference),
            (all_of.STARTED, self.opened_at / SECOND),
        ):
            yield _numbers(metric, [((), value)])


def _standing(standings: dict[str, Standing]) -> Iterator[Family]:
    """What the storage says of queues."""
    of = standings.items()
    yield _numbers(all_of.TASKS, [((name, state), n) for name, at in of for state, n in at.tasks.items()])
    yield _numbers(all_of.QUEUE_LATENESS, [((name,), at.late_us / SECOND) for name, at in of])
    yield _numbers(all_of.PAUSED, [((name,), at.paused) for name, at in of])
    yield _numbers(all_of.CONCURRENCY, [((name,), at.concurrency) for name, at in of])
    yield _numbers(all_of.QUEUES, [((), sum(at.queues for at in standings.values()))])
    yield _numbers(all_of.UNNAMED, [((), standings[OTHER].queues if OTHER in standings else 0)])


def _of_the_server(traffic: Traffic) -> Iterator[Family]:
    answers = [((*where, str(status)), n) for (*where, status), n in traffic.answers.items()]
    yield _numbers(all_of.REQUESTS, answers)
    yield _histograms(all_of.REQUEST_SECONDS, list(traffic.took_us.items()))
    yield _numbers(all_of.REFUSALS, [((str(status),), n) for status, n in traffic.refusals.items()])
    yield _histograms(all_of.LOOP_LAG, [((), traffic.lag_us)])
    yield _numbers(all_of.CONNECTIONS, [((), traffic.connections)])
    yield _numbers(all_of.STREAMS, [((), len(traffic.streams))])


def _by_outcome(outcomes: Outcomes) -> list[tuple[tuple[str, ...], float]]:
    return [((status, error_type or NONE), n) for (status, error_type), n in outcomes.items()]


def _numbers(metric: Metric, values: Sequence[tuple[Sequence[str], float]]) -> Family:
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _histograms(
    metric: Metric, values: Sequence[tuple[Sequence[str], Histogram]], unit: int = SECOND
) -> Family:
    """``unit``: how many of what was counted make one of what is shown."""
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, histogram in values:
        names = [*(str(float(bound / unit)) for bound in histogram.bounds), "+Inf"]
        buckets = list(zip(names, accumulate(histogram.counts), strict=True))
        family.add_metric(labels, buckets, histogram.sum / unit)
    return family


async def read(engine: Engine, traffic: Traffic | None = None) -> Reading:
    """A storage that cannot be read now leaves out what only it knows."""
    found: dict[str, Standing] = {}
    standings: dict[str, Standing] | None = found
    try:
        async for view in engine.queues.views():
            label = engine.totals.label(view.queue.key.name)
            found.setdefault(label, Standing()).add(view)
    except AsyncQueueError:
        standings = None
    return Reading(
        totals=engine.totals.copy(),
        statistics=engine.statistics(),
        standings=standings,
        quarantined=len(engine.quarantined),
        writable=not engine.problems(),
        draining=engine.draining,
        events=engine.feed.last,
        clock_difference=engine.clock.wall_offset(),
        opened_at=engine.opened_at,
        traffic=None if traffic is None else traffic.copy(),
    )


async def exposition(
    engine: Engine, traffic: Traffic | None = None, *, accept: str = ""
) -> tuple[bytes, str]:
    """The text, and its media type. ``traffic`` adds what a server knows."""
    return await trio.to_thread.run_sync(encode, await read(engine, traffic), accept)


def encode(reading: Reading, accept: str = "") -> tuple[bytes, str]:
    """In Prometheus' own form, or OpenMetrics where ``accept`` asks for that; with ``process_…`` metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(reading)
    ProcessCollector(registry=registry)
    if "application/openmetrics-text" in accept:
        text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return text, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4
