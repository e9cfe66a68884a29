"""What a task is. Pure.

`NewTask` is what a caller asks for, `Task` what the service keeps, `Attempt` one delivery that has ended. How
a task moves from state to state stands in `aq.lifecycle`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from attrs import field, fields, frozen

from aq.errors import FieldError, Gathering, ValidationError
from aq.instants import Instant
from aq.outcome import AttemptStatus, ErrorType, Timing
from aq.policy import QueuePolicy
from aq.rules import (
    PLAIN,
    QUEUE_NAME,
    Integer,
    Items,
    Moment,
    OneOf,
    Optional,
    Text,
    enforce,
    given,
    structure,
    whole,
)
from aq.target import DESTINATION_PATTERN, MAX_LENGTH, PATTERN, parse_target

MAX_PAYLOAD_BYTES = 1 << 20
MAX_PAYLOAD_NESTING = 64
DEFAULT_PRIORITY: Final = 5
MAX_HEADERS: Final = 32
MAX_HEADER_BYTES: Final = 8 << 10
ORDERING_KEY: Final = Text(f"{PLAIN}{{1,256}}", "1 to 256 characters without controls")
TAG: Final = Text(f"{PLAIN}{{1,64}}", "1 to 64 characters without controls")
IDEMPOTENCY_KEY: Final = Text(r"[ -~]{1,255}", "1 to 255 printable ASCII characters")
RESERVED_HEADERS: Final = frozenset(
    {
        *("connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("host", "content-length", "content-type", "user-agent", "traceparent", "tracestate"),
    }
)
"""Hop-by-hop, framing, and our own."""
RESERVED_PREFIXES: Final = ("webhook-", "x-asyncqueue-")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?")


class Environment(StrEnum):
    """Live and sandbox are apart everywhere: a queue's full name is (environment, name)."""

    LIVE = "live"
    TEST = "test"
    """The sandbox: tasks are accepted and never delivered."""
    CALLBACK = "callback"
    """Within the service: beside each live queue, the deliveries that tell of its tasks' ends."""


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
    EXPIRED = "expired"


class Method(StrEnum):
    """How the webhook is asked. A GET sends no body."""

    POST = "POST"
    GET = "GET"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


class QueueKey(NamedTuple):
    """A queue's full name."""

    environment: Environment
    name: str

    def __str__(self) -> str:
        return self.name if self.environment is Environment.LIVE else f"{self.environment}:{self.name}"


@lru_cache(maxsize=4_096)
def destination_of(webhook_url: str) -> str:
    """``scheme://host[:port]`` of a webhook URL: one text per destination, however many tasks go there."""
    return sys.intern(str(parse_target(webhook_url).destination))


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

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


class _WebhookUrl:
    """An absolute http or https URL; where it may lead is the guard's business, not the task's."""

    def accept(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("must be an absolute http:// or https:// URL")
        parse_target(value)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": MAX_LENGTH, "pattern": whole(PATTERN)}


class _Destination:
    """Scheme, host and port, however they are spelt; becomes the text that tasks are found by."""

    def accept(self, value: object) -> str:
        if isinstance(value, str):
            target = parse_target(value)
            if target.path == "/":
                return str(target.destination)
        raise ValueError("must be a destination such as https://example.com, without path and query")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": MAX_LENGTH, "pattern": whole(DESTINATION_PATTERN)}


DESTINATION: Final = _Destination()


def _sound(name: str) -> str:
    """A header's name up to what makes it none. What follows may be a value, and no answer shows those."""
    found = _HEADER_NAME.match(name[:64])
    return found[0] if found else ""


@frozen
class _Headers:
    """Extra headers for the webhook: names and values that go over the wire as they are."""

    def accept(self, value: object) -> Headers:
        if value == () and isinstance(value, Headers):
            return value
        pairs = value if isinstance(value, Headers) else _pairs(value)
        names = [name.lower() for name, _ in pairs]
        if len(pairs) > MAX_HEADERS or len(set(names)) < len(names):
            raise ValueError(f"must be at most {MAX_HEADERS} headers, none of them twice")
        for name, (raw, text) in zip(names, pairs, strict=True):
            if not _HEADER_NAME.fullmatch(raw):
                raise ValueError(f"has a name that no header can have: '{_sound(raw)}' and more")
            if name in RESERVED_HEADERS or name.startswith(RESERVED_PREFIXES):
                raise ValueError(f"must not set {name}: the service or the connection does")
            if not _HEADER_VALUE.fullmatch(text):
                raise ValueError(f"has a value for {name} that is not plain printable ASCII")
        if sum(len(name) + len(text) for name, text in pairs) > MAX_HEADER_BYTES:
            raise ValueError(f"must be at most {MAX_HEADER_BYTES:,} bytes in all")
        return Headers(zip(names, (text for _, text in pairs), strict=True))

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "maxProperties": MAX_HEADERS,
            "propertyNames": {"pattern": whole(_HEADER_NAME.pattern)},
            "additionalProperties": {"type": "string", "pattern": whole(_HEADER_VALUE.pattern)},
        }


class Headers(tuple[tuple[str, str], ...]):
    """(name in lower case, value), checked already."""


def _pairs(value: object) -> list[tuple[str, str]]:
    if not isinstance(value, Mapping):
        raise ValueError("must be an object of names and values")
    pairs = list(value.items())
    if not all(isinstance(name, str) and isinstance(text, str) for name, text in pairs):
        raise ValueError("must be an object whose values are strings")
    return pairs


def _encoded(value: Any) -> Any:
    """A mapping as its JSON text; anything else as it is, for the rule to refuse."""
    if isinstance(value, JsonText) or not isinstance(value, Mapping):
        return value
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return JsonText(text.encode()) if nesting(value) <= MAX_PAYLOAD_NESTING else value
    except (ValueError, TypeError, RecursionError):
        return value


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_NESTS: Final = (dict, list, tuple, Mapping)
"""What a glance tells comes first; to ask an abstract class takes ten times as long."""


def nesting(value: object) -> int:
    """How deep a decoded JSON value is nested: 0 for a scalar, 1 for ``{}``."""
    depth, layer = 0, [value]
    while layer := [item for item in layer if type(item) not in _SCALARS and isinstance(item, _NESTS)]:
        depth += 1
        layer = [
            inner for item in layer for inner in (item if isinstance(item, list | tuple) else item.values())
        ]
    return depth


@frozen
class NewTask:
    """A task as asked for. Raises ValidationError naming every wrong field.

    ``payload`` is a mapping that JSON can hold (it becomes JSON text here, once). The first attempt is due
    after ``delay`` whole seconds, or at ``run_at`` (RFC 3339 text or an aware datetime), not both; none
    starts once ``expires_in`` seconds have passed. A higher ``priority`` goes first; ``max_retries`` and
    ``timeout`` (seconds) override the queue's. ``headers`` are sent along, and answered as ``***``. Tasks of
    one ``ordering_key`` run one at a time in the order of their creation. ``callback_url`` is told of the
    end. The same ``idempotency_key`` within a day is the same task.
    """

    queue: Annotated[str, QUEUE_NAME]
    webhook_url: Annotated[str, _WebhookUrl()]
    payload: Annotated[Any, _Payload()] = field(default=JsonText(b"{}"), converter=given)
    delay: Annotated[int, Integer(0, 31_536_000)] = 0
    priority: Annotated[int, Integer(1, 10)] = DEFAULT_PRIORITY
    max_retries: Annotated[int | None, Optional(Integer(0, 100))] = None
    timeout: Annotated[int | None, Optional(Integer(1, 900))] = None
    run_at: Annotated[datetime | None, Optional(Moment())] = field(default=None, converter=given)
    expires_in: Annotated[int | None, Optional(Integer(1, 31_536_000))] = None
    method: Annotated[Method, OneOf(Method)] = field(default=Method.POST, converter=given)
    headers: Annotated[Headers, _Headers()] = field(default=Headers(), converter=given, repr=False)
    ordering_key: Annotated[str | None, Optional(ORDERING_KEY)] = None
    tags: Annotated[tuple[str, ...], Items(TAG, 0, 16)] = field(default=(), converter=given)
    callback_url: Annotated[str | None, Optional(_WebhookUrl())] = None
    idempotency_key: Annotated[str | None, Optional(IDEMPOTENCY_KEY)] = None

    def __attrs_post_init__(self) -> None:
        enforce(self)
        if self.run_at is not None and self.delay:
            raise ValidationError([FieldError("run_at", "must not be given together with delay")])


_KNOWN: Final = frozenset(field.name for field in fields(NewTask))
_RIGHT: Final = {"queue": "q", "webhook_url": "https://example.com/"}


def read_task(fields: Mapping[str, object]) -> tuple[NewTask, Sequence[FieldError]]:
    """A task from decoded JSON, and what is wrong with its fields.

    Where something is, the task is one of what is right, for other rules to judge that too. ``run_at`` beside
    any ``delay`` is wrong, also beside the default one.
    """
    if "queue" in fields and "webhook_url" in fields and _KNOWN.issuperset(fields):
        with suppress(ValidationError):  # told below, with all else that is wrong
            new = NewTask(**fields)  # type: ignore[arg-type]  # it looks for itself
            if new.run_at is None or "delay" not in fields:
                return new, ()
    wrong = Gathering()
    if "delay" in fields and fields.get("run_at") is not None:
        wrong.errors.append(FieldError("run_at", "must not be given together with delay"))
        fields = {name: value for name, value in fields.items() if name != "run_at"}
    with wrong:
        return structure(fields, NewTask), wrong.errors
    named = {error.field for error in wrong.errors}
    right = {name: value for name, value in fields.items() if name not in named}
    return structure({**_RIGHT, **right}, NewTask), wrong.errors


class TraceContext(NamedTuple):
    """A place in a trace, as W3C Trace Context writes it; without a ``traceparent`` it is in none."""

    traceparent: str | None = None
    tracestate: str | None = None


NO_TRACE: Final = TraceContext()


@frozen
class Options:
    """What few tasks ask for, together: most share one empty instance. It never changes."""

    method: Method = Method.POST
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    run_at: Instant | None = None
    """The wall instant asked for; ``Task.due_at`` is where it lies on the service clock."""
    expires_in: int | None = None
    """Seconds."""
    callback_url: str | None = None
    tags: tuple[str, ...] = ()
    schedule_id: str | None = None
    slot: Instant | None = None
    """Which firing of its schedule it is (wall clock); None for one that was asked for by hand."""
    tells_of: str | None = None
    """Of a callback: the task whose end it tells of."""
    tracestate: str | None = None
    """What came with the ``traceparent``."""


NO_OPTIONS = Options()


class Task(msgspec.Struct, frozen=True):
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
    ordering_key: str | None = None
    options: Options = NO_OPTIONS
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
    error_type: ErrorType | None = None
    """Of the latest attempt, unless it succeeded; EXPIRED when its time ran out."""
    expires_at: Instant | None = None
    """No attempt starts from then on."""
    callback_id: str | None = None
    """The delivery that tells of its end."""

    @property
    def destination(self) -> str:
        """``scheme://host[:port]``: who is spoken to."""
        return destination_of(self.webhook_url)


class Attempt(msgspec.Struct, frozen=True):
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
class Clearing:
    """A purge that is under way: its pending tasks count as gone, and are deleted in small steps.

    Or the deletion of the queue, which covers every id, so that no task comes in any more.
    """

    through: int
    """The highest id sequence it covers."""
    spared: tuple[str, ...] = ()
    """Tasks that were running: not pending then, so not covered."""
    of_the_queue: bool = False
    """The finished tasks go too, then the queue; or neither, if tasks were pending or active after all."""


@frozen(kw_only=True)
class Revival:
    """A retry of failed tasks in bulk that is under way, in small steps. None is "any"."""

    failed_by: Instant
    """What fails later is not covered."""
    tag: str | None = None
    error_type: ErrorType | None = None
    destination: str | None = None
    failed_after: Instant | None = None
    failed_before: Instant | None = None
    remaining: int | None = None
    """How many more at most."""


@frozen
class Queue:
    """A queue as kept."""

    key: QueueKey
    policy: QueuePolicy
    created_at: Instant
    version: int = 1
    counts: Counts = Counts()
    clearing: Clearing | None = None
    revival: Revival | None = None
