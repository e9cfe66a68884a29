"""What can go wrong with a call: one tree, told apart by what a caller would do next.

Each error speaks to a person and carries what a program needs. They are no `aq.errors.AsyncQueueError`: those
happen in this process, these are told by a service somewhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from aq.client.results import Task


@frozen
class WrongField:
    """A field that was refused: its path as it was sent (``priority``, ``tasks[2].queue``), and why."""

    field: str
    message: str


class APIError(Exception):
    """The root: the call did not succeed. ``str()`` is one line for people."""

    status: int | None = None
    """The HTTP status; None where there was no answer."""
    type: str | None = None
    """The kind of problem, for programs: ``urn:problem-type:asyncqueue:…`` (RFC 9457)."""
    request_id: str | None = None
    """What the service's log knows the request by."""
    retry_after: float | None = None
    """Seconds that the service asks to wait before the next try."""
    idempotency_key: str | None = None
    """The key that was sent: repeat the call with it, and what it asks for is done once."""


class BadRequest(APIError):
    """The service cannot read the request, or not at this address (400, 405, 408, 413, 415, 431)."""


class AuthenticationError(APIError):
    """No key, or not a valid one (401)."""


class PermissionDenied(APIError):
    """The key lacks the scope, or names a queue that it may not use (403)."""


class NotFound(APIError):
    """There is no such thing, or none that this key may see (404)."""


class Conflict(APIError):
    """It is not in a state that allows this, or the idempotency key was used for something else (409)."""


class ValidationFailed(APIError):
    """Fields are wrong, missing or unknown (422); ``errors`` names every one of them."""

    errors: tuple[WrongField, ...] = ()


class RateLimited(APIError):
    """The key has made all its requests of this minute (429)."""


class Unavailable(APIError):
    """Overloaded, shutting down, or nothing behind the proxy (502, 503, 504).

    Of a write it is not known whether it was done.
    """


class UnexpectedAnswer(APIError):
    """What answered is not AsyncQueue, or one that this client does not understand."""


class ConnectionFailed(APIError):
    """There was no answer: the service was not reached, or the connection broke.

    ``sent`` is false where it is certain that the service never saw the request.
    """

    sent: bool = True


class TimedOut(APIError):
    """There was no answer in time. Of a write it is not known whether it was done."""


class NotEnded(TimedOut):
    """The task had not ended when the wait for it ran out; ``task`` is how it stood then."""

    task: Task


BY_STATUS: Final[Mapping[int, type[APIError]]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    422: ValidationFailed,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
"""Any other 4xx is a `BadRequest`, what remains an `APIError`."""
CERTAINLY_NOT_DONE: Final = frozenset({408, 429})
"""Statuses that are answered before anything is begun."""
MAYBE_DONE: Final = frozenset({502, 503, 504})
