"""One request and its answer, without any I/O: what to ask, and what the reply means."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

import msgspec
from attrs import frozen

from aq.client.errors import (
    BY_STATUS,
    APIError,
    BadRequest,
    UnexpectedAnswer,
    ValidationFailed,
    WrongField,
)
from aq.client.trace import NO_TRACE, Trace
from aq.instants import from_seconds
from aq.retry_after import seconds_of

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
_MOST_QUOTED: Final = 200


@frozen
class Reply:
    """``headers`` have their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@frozen(kw_only=True)
class Call(Generic[T]):
    """What is asked for, and how its reply is read.

    ``repeatable``: asked twice it is done once, or it makes no difference. ``gone_is_done``: a repetition
    that finds nothing has been done by the try before. ``holds`` are seconds for which the service may hold
    its answer back. ``accepts`` are statuses beside 2xx that are no errors here.
    """

    method: str
    path: str
    read: Callable[[Reply], T]
    body: bytes | None = None
    key: str | None = None
    trace: Trace = NO_TRACE
    repeatable: bool = True
    gone_is_done: bool = False
    holds: float = 0
    accepts: tuple[int, ...] = ()


class _Problem(msgspec.Struct):
    """RFC 9457, and what AsyncQueue adds to it."""

    type: str | None = None
    title: str | None = None
    detail: str | None = None
    errors: Sequence[Mapping[str, Any]] = ()


def new_key() -> str:
    """An idempotency key of a call that was given none."""
    return f"auto_{uuid.uuid4().hex}"


def reads(kind: type[S]) -> Callable[[Reply], S]:
    """A reader of one document."""

    def read(reply: Reply) -> S:
        try:
            return msgspec.json.decode(reply.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _unexpected(reply, f"is no {kind.__name__} of AsyncQueue: {error}") from None

    return read


def nothing(reply: Reply) -> None:
    """The reader of an answer without a body."""


def error_of(reply: Reply) -> APIError:
    """What a reply that is no success means, in the service's own words where they are there."""
    try:
        problem = msgspec.json.decode(reply.body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = _Problem()
    detail = problem.detail or problem.title or _told(reply)
    kind = BY_STATUS.get(reply.status, BadRequest if 400 <= reply.status < 500 else APIError)
    request_id = reply.headers.get("x-request-id")
    known_as = "" if request_id is None else f", request {request_id}"
    error = kind(f"{detail} (HTTP {reply.status}{known_as})")
    error.status, error.type, error.request_id = reply.status, problem.type, request_id
    error.retry_after = _retry_after(reply)
    if isinstance(error, ValidationFailed):
        error.errors = tuple(
            WrongField(str(it.get("field", "")), str(it.get("message", ""))) for it in problem.errors
        )
    return error


def _told(reply: Reply) -> str:
    """Of an answer that is not the service's: what a proxy or another server said."""
    if 300 <= reply.status < 400:
        return f"redirected to {reply.headers.get('location', '')[:_MOST_QUOTED]}: use that as base_url"
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "an unknown status"
    text = " ".join(reply.body[:_MOST_QUOTED].decode("utf-8", "replace").split())
    return f"{phrase}: {text}" if text else phrase


def _unexpected(reply: Reply, what: str) -> UnexpectedAnswer:
    error = UnexpectedAnswer(f"the answer {what}; is base_url right?")
    error.status, error.request_id = reply.status, reply.headers.get("x-request-id")
    return error


def _retry_after(reply: Reply) -> float | None:
    if "retry-after" not in reply.headers:
        return None
    return seconds_of(reply.headers["retry-after"], from_seconds(time.time()))
