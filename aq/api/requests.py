"""What every request carries: its id, and the caller's place in a trace."""

from __future__ import annotations

import re
import secrets
from functools import lru_cache
from itertools import count
from time import perf_counter
from typing import Final, Protocol

from quart import Request, Response, g, request
from quart_trio import QuartTrio

from aq.errors import FieldError, NotFoundError, ValidationError
from aq.task import NO_TRACE, TraceContext
from aq.telemetry.traffic import Traffic

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_TRACESTATE: Final = 512
"""Characters; a longer one is dropped."""
_MOST_MEMBERS: Final = 32
_MEMBER: Final = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


_RUN: Final = secrets.token_hex(4)
_NUMBERS: Final = count(secrets.randbits(32))


class Headers(Protocol):
    """A request's headers, whichever door it came through. Names are given in lower case."""

    def get(self, name: str, default: str, /) -> str:
        """The first of this name."""

    def getlist(self, name: str, /) -> list[str]:
        """All of this name."""


def new_request_id() -> str:
    """16 hexadecimal digits: random ones in the first half of those of a process, then their number."""
    return f"{_RUN}{next(_NUMBERS) & 0xFFFFFFFF:08x}"


def request_id(headers: Headers) -> str:
    """The caller's own where it sent a plain one, else a new one."""
    asked = headers.get("x-request-id", "")
    return asked if _ID.fullmatch(asked) else new_request_id()


def identify_requests(app: QuartTrio) -> None:
    """Give every answer an ``X-Request-Id``."""

    @app.before_request
    async def begin() -> None:
        g.request_id = request_id(request.headers)

    @app.after_request
    async def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        return response


def count_requests(app: QuartTrio, traffic: Traffic) -> None:
    """Count every answer, and the time until it was there."""

    @app.before_request
    async def begin() -> None:
        g.began = perf_counter()

    @app.after_request
    async def end(response: Response) -> Response:
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]  # the proxy is slow
        rule = asked.url_rule
        route = None if rule is None else route_of(rule.rule)
        grant = g.get("grant")
        traffic.answered(
            asked.method,
            route,
            response.status_code,
            perf_counter() - g.began,
            g.request_id,
            None if grant is None else grant.key_id,
        )
        return response


@lru_cache(maxsize=256)
def route_of(rule: str) -> str:
    """``/v1/tasks/{task_id}`` of Werkzeug's ``/v1/tasks/<task_id>``."""
    return re.sub(r"<(?:[^<>:]*:)?([^<>]*)>", r"{\1}", rule)


def take_paths_as_they_are(app: QuartTrio) -> None:
    """A slash is a slash: Werkzeug would drop those at the start but one, and ``%2f`` is none (RFC 3986).

    So whoever lets requests through to this service by their path sees the path that is served.
    """

    @app.before_request
    async def check() -> None:
        if request.scope["path"].startswith("//") or b"%2f" in request.scope.get("raw_path", b"").lower():
            raise NotFoundError("there is nothing at this address")


def idempotency_key(headers: Headers, given: object = None) -> str | None:
    """A request's idempotency key, from its header or from the field ``given`` in its body.

    Raises ValidationError when the two differ, or the header is there twice.
    """
    told = headers.getlist("idempotency-key")
    keys = list(dict.fromkeys([*told, *([given] if isinstance(given, str) else [])]))
    if len(keys) > 1:
        raise ValidationError([FieldError("idempotency_key", "differs from the header Idempotency-Key")])
    return keys[0] if keys else None


def trace_context(headers: Headers) -> TraceContext:
    """The headers ``traceparent`` and ``tracestate`` (W3C Trace Context), as far as they are well-formed."""
    parents = headers.getlist("traceparent")
    if len(parents) != 1 or not _TRACEPARENT.fullmatch(parents[0]):
        return NO_TRACE
    states = headers.getlist("tracestate")
    return TraceContext(parents[0], _tracestate(",".join(states)) if states else None)


def _tracestate(text: str) -> str | None:
    """The members that there are, at most 512 characters of them as a whole; None where one is malformed."""
    members = [member for part in text.split(",") if (member := part.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    sound = all(map(_MEMBER.fullmatch, members)) and len(keys) == len(members)
    joined = ",".join(members)
    return joined if sound and 0 < len(joined) <= MAX_TRACESTATE and len(members) <= _MOST_MEMBERS else None
