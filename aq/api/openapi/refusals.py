"""The problems that an operation may answer with, and the headers of answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from aq.api.auth import ForbiddenError
from aq.api.limits import RateLimitedError
from aq.api.openapi.shapes import Schema, ref
from aq.api.problems import CONTENT_TYPE, TITLES, MediaTypeError, NotJsonError, UnauthorizedError, problem
from aq.errors import ConflictError, NotFoundError, OverloadedError, ValidationError


@frozen
class Refusal:
    """One kind of problem: its name among the components, when it comes, and what it looks like."""

    name: str
    title: str
    description: str
    example: str
    headers: tuple[str, ...] = ()


REFUSALS: Final[Mapping[int, Refusal]] = {
    400: Refusal(
        "NotJson",
        NotJsonError.title,
        "The body is not JSON, or not strictly enough (also: duplicate members, NaN, bad UTF-8); "
        "or the request is not HTTP.",
        "the body must be a JSON object: {…}",
    ),
    401: Refusal(
        "Unauthorized",
        UnauthorizedError.title,
        "No key, or not one that is valid.",
        "this API key is not valid",
        ("WWW-Authenticate",),
    ),
    403: Refusal(
        "Forbidden",
        ForbiddenError.title,
        "The key is valid, and not for this: it lacks the scope, or the queue is none of its own.",
        "this needs a key with the scope write",
        ("WWW-Authenticate",),
    ),
    404: Refusal(
        "NotFound",
        NotFoundError.title,
        "There is no such thing, or the key may not see it.",
        "there is no queue emails",
    ),
    409: Refusal(
        "Conflict",
        ConflictError.title,
        "It is not in a state that allows this; or the idempotency key was used for another request.",
        "only a pending task can be deleted, and this one has started or ended",
    ),
    413: Refusal(
        "TooLarge",
        TITLES[413],
        "The body is over 1 MiB.",
        "the body may be at most 1,048,576 bytes long",
    ),
    415: Refusal(
        "NotJsonMedia",
        MediaTypeError.title,
        "The body is not declared as JSON, or it is compressed.",
        "send JSON, with the header Content-Type: application/json",
    ),
    422: Refusal(
        "InvalidFields",
        ValidationError.title,
        "Fields or query parameters are wrong, missing or unknown; each is named.",
        "priority must be an integer from 1 to 10",
    ),
    429: Refusal(
        "RateLimited",
        RateLimitedError.title,
        "The key has made all the requests that it may make in this minute.",
        "this key may make 60 requests in 60 seconds; the next is taken in 12 s",
        ("Retry-After",),
    ),
    503: Refusal(
        "Unavailable",
        OverloadedError.title,
        "Overloaded, shutting down, or the storage takes no writes for now. To a write it means: outcome "
        "unknown.",
        "too many bytes are on their way to disk; try again soon",
        ("Retry-After",),
    ),
}

_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "integer", "minimum": 0}
HEADERS: Final[Mapping[str, tuple[str, Schema, bool]]] = {
    "X-Request-Id": (
        "The request's own, if it sent one that is fit to be logged, else a new one.",
        _TEXT,
        True,
    ),
    "X-RateLimit-Limit": ("Requests that a key with a limit may make in a minute.", _NUMBER, False),
    "X-RateLimit-Remaining": ("How many of them are left.", _NUMBER, False),
    "X-RateLimit-Reset": ("Seconds until the minute is over.", _NUMBER, False),
    "Location": ("The address of what was made.", _TEXT, True),
    "Idempotent-Replay": (
        "`true` when an earlier request with this idempotency key got this answer already.",
        {"type": "string", "const": "true"},
        False,
    ),
    "Retry-After": ("Seconds after which it may be different.", _NUMBER, True),
    "WWW-Authenticate": ("What is missing (RFC 6750): a key, or the scope that is named.", _TEXT, False),
}
"""Description, schema, and whether it is always there."""
LIMITED: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def refusal(status: int) -> dict[str, Any]:
    """A reference to the response of a problem."""
    return {"$ref": f"#/components/responses/{REFUSALS[status].name}"}


def responses() -> dict[str, Any]:
    """The responses of all problems, by name."""
    return {it.name: _response(status, it) for status, it in REFUSALS.items()}


def headers() -> dict[str, Any]:
    """The headers of answers, by name."""
    return {
        name: {"description": description, "required": always, "schema": schema}
        for name, (description, schema, always) in HEADERS.items()
    }


def header_refs(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}


def _response(status: int, it: Refusal) -> dict[str, Any]:
    invalid = status == ValidationError.status
    field, _, message = it.example.partition(" ")
    members = {"errors": [{"field": field, "message": message}]} if invalid else {}
    return {
        "description": it.description,
        "headers": header_refs(*it.headers, *LIMITED),
        "content": {
            CONTENT_TYPE: {
                "schema": ref("InvalidFields" if invalid else "Problem"),
                "example": json.loads(problem(status, it.title, it.example, **members)),
            }
        },
    }
