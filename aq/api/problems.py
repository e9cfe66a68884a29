"""Errors as ``application/problem+json`` (RFC 9457), the same form for every status.

Beside the standard members there is ``error``, one line for a person, and for validation ``errors``, which
names every wrong field. A stack trace never leaves the process: it is logged under the request's id.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from quart import Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from aq.api.answer import Answer
from aq.errors import AsyncQueueError, OverloadedError, UnavailableError, ValidationError

CONTENT_TYPE: Final = "application/problem+json"
TITLES: Final[Mapping[int, str]] = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    413: "Content too large",
    431: "Request header fields too large",
    503: OverloadedError.title,
}
"""Of what HTTP itself refuses. Types are made of titles, and Python's words for a status change with it."""
logger = logging.getLogger(__name__)


class NotJsonError(AsyncQueueError):
    """The body is not JSON, or not strictly enough."""

    status = 400
    title = "Not JSON"


class UnauthorizedError(AsyncQueueError):
    """No key or an unknown one; ``challenge`` is the WWW-Authenticate header (RFC 6750)."""

    status = 401
    title = "Unauthorized"

    def __init__(self, message: str, *, challenge: str) -> None:
        self.challenge = challenge
        super().__init__(message)


class MediaTypeError(AsyncQueueError):
    """The body is not declared as plain JSON."""

    status = 415
    title = "Unsupported media type"


def problem(status: int, title: str, detail: str, **members: object) -> bytes:
    """The document. ``type`` is a name made of the title, so that programs need not read the words."""
    line = " ".join(detail.split())
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    kind = f"urn:problem-type:asyncqueue:{slug}"
    body = {"type": kind, "title": title, "status": status, "detail": line, "error": line, **members}
    return msgspec.json.encode(body)


def title_of(status: int) -> str:
    """Of a refusal that no error of ours has a title for."""
    return TITLES.get(status) or HTTPStatus(status).phrase


def handle_errors(app: QuartTrio) -> None:
    """Every error of the app, expected or not, becomes a problem document."""
    for kind in (AsyncQueueError, HTTPException, Exception):
        app.register_error_handler(kind, _failed)


def answer_to(error: Exception, request_id: str, method: str, path: str) -> Answer:
    """The answer to a request that ended so; of an error that nobody expects the log has the cause."""
    if isinstance(error, HTTPException) and error.code and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _of_http(error, error.code)
    if not isinstance(error, AsyncQueueError) or error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("request %s failed: %s %r", request_id, method, path, exc_info=error)
        detail = f"the service failed; its log has the cause under request id {request_id}"
        return _answer(problem(500, AsyncQueueError.title, detail), 500, {})
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if isinstance(error, ValidationError):
        members["errors"] = [{"field": wrong.field, "message": wrong.message} for wrong in error.errors]
    if isinstance(error, UnavailableError):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = error.challenge
    return _answer(problem(error.status, error.title, str(error), **members), error.status, headers)


async def _failed(error: Exception) -> Response:
    return answer_to(error, g.request_id, request.method, request.path).response()


def _of_http(error: HTTPException, status: int) -> Answer:
    """What Quart itself refuses: unknown routes and methods, large and slow bodies, odd hosts."""
    title = title_of(status)
    headers = {name: value for name, value in error.get_headers() if name.lower() in ("allow", "retry-after")}
    return _answer(problem(status, title, _EXPLAINED.get(status, title)), status, headers)


def _answer(body: bytes, status: int, headers: Mapping[str, str]) -> Answer:
    return Answer(status, {"Content-Type": CONTENT_TYPE, **headers}, body)


_EXPLAINED: Final[Mapping[int, str]] = {
    404: "there is nothing at this address",
    405: "this address does not know that method; the Allow header names the ones it knows",
    408: "the request took too long to arrive",
    413: "the body may be at most 1,048,576 bytes long",
}
