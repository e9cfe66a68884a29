"""Every metric that the service has of its own. `docs/telemetry.md` says the same, and when to be woken."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from attrs import frozen


class Kind(StrEnum):
    """As Prometheus has it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@frozen
class Metric:
    """``name`` is the one in queries: a counter's ends in ``_total``, a unit stands at its end."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What one of it is."""
        end = self.name.removesuffix("_total").rpartition("_")[2]
        return end if end in ("seconds", "bytes") else ""


def _counter(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"{name}_total", Kind.COUNTER, meaning, labels)


def _gauge(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, meaning, labels)


def _histogram(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name, Kind.HISTOGRAM, meaning, labels)


# -- what tasks meet ----------------------------------------------------------------------------------------
LATENESS: Final = _histogram(
    "aq_task_lateness_seconds", "How late attempts started after they were due.", "queue"
)
QUEUE_LATENESS: Final = _gauge(
    "aq_queue_lateness_seconds", "How long the oldest due task has waited.", "queue"
)
ATTEMPTS: Final = _counter("aq_attempts", "Attempts that ended, by how.", "queue", "status", "error_type")
ATTEMPT_SECONDS: Final = _histogram(
    "aq_attempt_duration_seconds", "From an attempt's start to its end, where that is known.", "queue"
)
CREATED: Final = _counter("aq_tasks_created", "Tasks accepted.", "queue")
FINISHED: Final = _counter(
    "aq_tasks_finished", "Tasks completed or failed for good.", "queue", "status", "reason"
)
RETRIED: Final = _counter("aq_tasks_retried", "Retries set, by the queue's policy or by hand.", "queue")
DELETED: Final = _counter(
    "aq_tasks_deleted", "Tasks deleted: by hand, by a purge, or with their time of retention over.", "queue"
)
TASKS: Final = _gauge("aq_tasks", "Tasks in the storage, by state; no task is in two.", "queue", "state")
PAUSED: Final = _gauge("aq_queue_paused", "1 while the queue is paused.", "queue")
CONCURRENCY: Final = _gauge(
    "aq_queue_concurrency", "How many attempts the queue may have in flight.", "queue"
)
CALLBACKS: Final = _counter(
    "aq_callback_attempts", "Attempts of callbacks that ended, by how.", "status", "error_type"
)
# -- the engine ---------------------------------------------------------------------------------------------
IN_FLIGHT: Final = _gauge("aq_attempts_in_flight", "Attempts under way, those of callbacks too.")
MAX_ATTEMPTS: Final = _gauge("aq_attempts_max", "How many may be under way at once.")
HELD: Final = _gauge("aq_destinations_held", "Destinations that asked for a pause.")
QUEUES: Final = _gauge("aq_queues", "Live queues.")
UNNAMED: Final = _gauge("aq_queues_unnamed", "Live queues that are shown together as `_other`.")
QUARANTINED: Final = _gauge(
    "aq_queues_quarantined", "Queues that stand still because they crashed too often."
)
SUPERVISORS: Final = _gauge("aq_supervisors", "Queue supervisors that live.")
RESTARTS: Final = _counter("aq_supervisor_restarts", "Queue supervisors begun anew after a crash.")
COMMIT_SECONDS: Final = _histogram(
    "aq_commit_duration_seconds", "How long transactions took, failed ones too."
)
COMMIT_UNITS: Final = _histogram("aq_commit_units", "Units that shared a transaction.")
WAITING: Final = _gauge("aq_writes_waiting", "Writes that wait for the next transaction.")
INTAKE: Final = _gauge("aq_intake_bytes", "Payload bytes on their way to disk.")
STORAGE_ERRORS: Final = _counter("aq_storage_errors", "Calls of the storage that failed.", "kind")
WRITABLE: Final = _gauge("aq_storage_writable", "1 unless the disk is full or the store is damaged.")
EVENTS: Final = _counter("aq_events", "Events published.")
DRAINING: Final = _gauge("aq_draining", "1 once the service takes no more work.")
CLOCK: Final = _gauge(
    "aq_clock_difference_seconds", "By how much the wall clock is ahead of the service clock."
)
STARTED: Final = _gauge("aq_start_time_seconds", "When the engine was opened, in Unix time.")
BUILD: Final = _gauge("aq_build_info", "1; the labels say which build it is.", "version", "python")
# -- the server ---------------------------------------------------------------------------------------------
REQUESTS: Final = _counter("aq_http_requests", "Requests answered.", "method", "route", "status")
REQUEST_SECONDS: Final = _histogram(
    "aq_http_request_duration_seconds", "From a request to the head of its answer.", "method", "route"
)
REFUSALS: Final = _counter(
    "aq_http_refusals", "What never became a request: slow, large, malformed, too much.", "status"
)
CONNECTIONS: Final = _gauge("aq_http_connections", "Open connections of clients.")
LOOP_LAG: Final = _histogram("aq_loop_lag_seconds", "How late the event loop wakes who is due.")
STREAMS: Final = _gauge("aq_event_streams", "Open event streams.")

CATALOGUE: Final[tuple[Metric, ...]] = tuple(
    found for found in vars().copy().values() if isinstance(found, Metric)
)
"""All of them, in their order."""
