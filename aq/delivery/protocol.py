"""The two seams of delivery: a *runner* makes one attempt, a *transport* makes one HTTP exchange."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

import msgspec
from msgspec import field

from aq.delivery.stopwatch import Stopwatch
from aq.errors import AsyncQueueError
from aq.instants import Instant
from aq.outcome import AttemptStatus, ErrorType, Outcome, Timing
from aq.target import Target
from aq.task import Method, QueueKey

MAX_RESPONSE_BYTES: Final = 64 << 10
"""So much of a response body is read at most; the status decides, whatever would have followed."""

KEPT_BYTES: Final = 16 << 10
"""So much of a response body is kept."""

KEPT_SUCCESS_BYTES: Final = 1 << 10
"""So much of the body of a 2xx is kept."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to be made. ``payload`` is the client's JSON text; ``timeout`` is in seconds.

    Whoever cuts the attempt short can still read from ``stopwatch`` where its time went.
    """

    task_id: str
    queue: QueueKey
    webhook_url: str
    payload: bytes
    attempt: int
    timeout: float
    due_at: Instant
    started_at: Instant
    created_at: Instant | None = None
    """When its task was accepted."""
    traceparent: str | None = None
    tracestate: str | None = None
    method: Method = Method.POST
    headers: tuple[tuple[str, str], ...] = ()
    """The task's own, names in lower case."""
    signing_secrets: tuple[str, ...] | None = None
    """The queue's ``whsec_…``; None: the service's."""
    tells_of: str | None = None
    """Of a callback: the task whose end it tells of. ``payload`` is then the whole body."""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def __repr__(self) -> str:
        """Without headers and secrets."""
        return f"Delivery(task_id={self.task_id!r}, queue={self.queue!r}, attempt={self.attempt})"

    def json(self) -> Any:
        """The payload, decoded."""
        return json.loads(self.payload)


class DeliveryError(AsyncQueueError):
    """There is no answer to judge; ``error_type`` says why, BLOCKED as status that nothing was asked.

    ``timing`` is what was measured until then; the step that failed is part of it.
    """

    def __init__(
        self,
        error_type: ErrorType,
        message: str,
        status: AttemptStatus = AttemptStatus.ERROR,
        timing: Timing | None = None,
    ) -> None:
        self.error_type = error_type
        self.attempt_status = status
        self.timing = timing
        super().__init__(message)


Runner: TypeAlias = Callable[[Delivery], Awaitable[Outcome]]
"""Makes one attempt. It is cancelled when its time is over; whatever it raises becomes a failed attempt."""


class WebhookRequest(msgspec.Struct, frozen=True):
    """One HTTP request, ready to be sent. Header names are lower case, without host and framing.

    A transport starts the ``stopwatch``, and reads the timing of a response or a failure from it.
    """

    method: str
    target: Target
    headers: Sequence[tuple[str, str]]
    body: bytes
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def __repr__(self) -> str:
        """Without headers and body."""
        return f"WebhookRequest(method={self.method!r}, target={self.target!r})"


class WebhookResponse(msgspec.Struct, frozen=True):
    """What came back. ``body`` is the head of the response body, at most what the transport keeps."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    timing: Timing | None = None

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class Transport(Protocol):
    """Makes one HTTP exchange: no redirects, no repeat once a byte was sent, no proxies.

    It has no deadline of its own: it is cancelled from outside, and that lets go of the connection.
    """

    async def send(self, request: WebhookRequest) -> WebhookResponse:
        """Raises `DeliveryError` when there is no answer to judge, ValueError for what cannot be sent."""
        ...

    async def aclose(self) -> None:
        """Close what is kept open."""
        ...
