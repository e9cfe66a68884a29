"""What a task is. Pure.

`NewTask` is what a caller asks for, `Task` what the service keeps, `Attempt` one delivery that has ended. How
a task moves from state to state stands in `aq.lifecycle`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from attrs import field, frozen

from aq.instants import Instant
from aq.outcome import AttemptStatus, ErrorType, Timing
from aq.policy import QueuePolicy
from aq.rules import QUEUE_NAME, Integer, Optional, enforce
from aq.target import parse_target

MAX_PAYLOAD_BYTES = 1 << 20
MAX_PAYLOAD_NESTING = 64


class Environment(StrEnum):
    """Live and sandbox are apart everywhere: a queue's full name is (environment, name)."""

    LIVE = "live"
    TEST = "test"


class Status(StrEnum):
    """The states of a task; delayed and waiting for a retry are ``pending``."""

    PENDING = "pending"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self in (Status.COMPLETED, Status.FAILED)


class FailureReason(StrEnum):
    """Why a task failed for good."""

    EXHAUSTED = "exhausted"
    GONE = "gone"


class QueueKey(NamedTuple):
    """A queue's full name."""

    environment: Environment
    name: str

    def __str__(self) -> str:
        return self.name if self.environment is Environment.LIVE else f"{self.environment}:{self.name}"


class JsonText(bytes):
    """The UTF-8 text of a JSON object, checked already; it is stored and forwarded byte for byte."""


class _Payload:
    """A JSON object of bounded size and depth."""

    def accept(self, value: object) -> JsonText:
        value = _encoded(value)
        if not isinstance(value, JsonText):
            raise ValueError("must be an object that JSON can hold, nested at most 64 levels")
        if len(value) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"must be at most {MAX_PAYLOAD_BYTES:,} bytes of JSON")
        return value


class _WebhookUrl:
    """An absolute http or https URL; where it may lead is the guard's business, not the task's."""

    def accept(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("must be an absolute http:// or https:// URL")
        parse_target(value)
        return value


def _encoded(value: Any) -> Any:
    """A mapping as its JSON text; anything else as it is, for the rule to refuse."""
    if isinstance(value, JsonText) or not isinstance(value, Mapping):
        return value
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return JsonText(text.encode()) if nesting(value) <= MAX_PAYLOAD_NESTING else value
    except (ValueError, TypeError, RecursionError):
        return value


def nesting(value: object) -> int:
    """How deep a decoded JSON value is nested: 0 for a scalar, 1 for ``{}``."""
    depth, layer = 0, [value]
    while layer := [item for item in layer if isinstance(item, Mapping | list | tuple)]:
        depth += 1
        layer = [inner for item in layer for inner in (item.values() if isinstance(item, Mapping) else item)]
    return depth


@frozen
class NewTask:
    """A task as asked for. Raises ValidationError naming every wrong field.

    ``payload`` is a mapping that JSON can hold (it becomes JSON text here, once). ``delay`` is in whole
    seconds; a higher ``priority`` goes first; ``max_retries`` and ``timeout`` (seconds) override the queue's.
    """

    queue: Annotated[str, QUEUE_NAME]
    webhook_url: Annotated[str, _WebhookUrl()]
    payload: Annotated[Any, _Payload()] = field(default=JsonText(b"{}"), converter=_encoded)
    delay: Annotated[int, Integer(0, 31_536_000)] = 0
    priority: Annotated[int, Integer(1, 10)] = 5
    max_retries: Annotated[int | None, Optional(Integer(0, 100))] = None
    timeout: Annotated[int | None, Optional(Integer(1, 900))] = None

    def __attrs_post_init__(self) -> None:
        enforce(self)


@frozen
class Task:
    """A task as kept. ``version`` rises with every change; a change names the version it was decided on."""

    id: str
    queue: QueueKey
    webhook_url: str
    priority: int
    delay: int
    created_at: Instant
    due_at: Instant
    """When the next attempt is due; of a final task, when its last one was."""
    max_retries: int | None = None
    timeout: int | None = None
    traceparent: str | None = None
    status: Status = Status.PENDING
    version: int = 1
    attempt: int = 0
    """The number of the latest attempt begun; 0 before the first."""
    failures: int = 0
    """Attempts that count against max_retries."""
    unknowns: int = 0
    """Attempts without a known end, in a row."""
    started_at: Instant | None = None
    """When the attempt that is running began."""
    finished_at: Instant | None = None
    failure_reason: FailureReason | None = None


@frozen
class Attempt:
    """One delivery that has ended. ``lateness_us`` is start minus due."""

    number: int
    status: AttemptStatus
    executed_at: Instant
    duration_us: int
    lateness_us: int
    response_code: int | None = None
    error_type: ErrorType | None = None
    error: str | None = None
    response_body: bytes | None = None
    timing: Timing | None = None


@frozen
class Counts:
    """How many tasks a queue holds in each state."""

    pending: int = 0
    active: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        return self.pending + self.active + self.completed + self.failed


@frozen
class Queue:
    """A queue as kept."""

    key: QueueKey
    policy: QueuePolicy
    created_at: Instant
    version: int = 1
    counts: Counts = Counts()
