"""Who may ask for what: a request's key, its limit and its scope, before any route sees the request.

No scope includes another: GET needs ``read``, everything else ``write``, and ``/v1/apikeys`` nothing but
``admin``. What a key says of environments and queues is the routes' to keep, with the helpers of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio
from quart import Request, Response, g, request
from quart_trio import QuartTrio

from aq.api.limits import RateLimits
from aq.api.problems import UnauthorizedError
from aq.api.requests import Headers
from aq.apikey import Scope
from aq.errors import AsyncQueueError
from aq.keys import Grant, Keyring
from aq.task import Environment

OPEN_ENDPOINTS: Final = frozenset(
    {"healthz", "readyz", "receiver", "metrics", "openapi", "docs", "docs_file"}
)
"""The routes that need no key, by endpoint."""
DASHBOARD: Final = "dashboard"
"""The blueprint whose requests come with a session in place of a key: `aq.dashboard.door` lets them in."""
_ADMIN_ROUTES: Final = "/v1/apikeys"
_CHALLENGE: Final = 'Bearer realm="asyncqueue"'


class ForbiddenError(AsyncQueueError):
    """The key is valid, and not for this."""

    status = 403
    title = "Forbidden"


class ScopeError(UnauthorizedError):
    """The key lacks the scope that the challenge names (RFC 6750)."""

    status = ForbiddenError.status
    title = ForbiddenError.title

    def __init__(self, scope: Scope) -> None:
        challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'
        super().__init__(f"this needs a key with the scope {scope}", challenge=challenge)


def require_keys(app: QuartTrio, keys: Keyring, limits: RateLimits) -> None:
    """Only with a valid key does a request reach a route, open ones apart.

    401 without one, also for what is unknown under ``/v1``; 429 beyond the key's limit, 403 without the
    route's scope. Every answer to a key with a limit has the ``X-RateLimit-`` headers.
    """

    @app.before_request
    async def check() -> None:
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]  # the proxy is slow
        if _is_open(asked):
            return
        g.grant = grant = presented_grant(keys, asked.headers)
        standing = limits.take(grant)
        if standing is not None:
            g.standing = standing
            standing.check()
        scope = _needed_scope(asked)
        if scope is not None:
            check_scope(grant, scope)

    @app.after_request
    async def tell(response: Response) -> Response:
        if (standing := g.get("standing")) is not None:
            response.headers.update(standing.headers)
        return response


# -- for routes ---------------------------------------------------------------------------------------------
def grant() -> Grant:
    """What this request's key may do; not to be asked for in an open route."""
    found: Grant = g.grant
    return found


def environment() -> Environment:
    """The environment that this request's key lives in."""
    return grant().environment


def may_see(queue_name: str) -> bool:
    """Whether this request's key may see a queue of its environment and what is in it; if not: 404."""
    return grant().allows_queue(queue_name)


def require_queue(name: str) -> None:
    """For what names a queue to write to. Raises ForbiddenError when it is none of the key's."""
    check_queue(grant(), name)


@contextmanager
def told_of_revocation(grant: Grant, tell: Callable[[], object]) -> Iterator[None]:
    """``tell`` is called when the key is revoked. A task listens for that: it costs nothing meanwhile."""
    listening = trio.CancelScope()

    async def listen() -> None:
        with listening:
            await grant.revoked.wait()
            tell()

    trio.lowlevel.spawn_system_task(listen, name="aq.api.auth: is the key revoked")
    try:
        yield
    finally:
        listening.cancel()


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """A wait that ends after so long, and as soon as the request's key is revoked: UnauthorizedError then."""
    asking = grant()
    with trio.move_on_after(seconds) as waiting, told_of_revocation(asking, waiting.cancel):
        yield
    if asking.revoked.is_set():
        raise _not_valid()


def scope_of(route: str, method: str) -> Scope:
    """The scope that a route needs, by its rule."""
    if f"{route}/".startswith(f"{_ADMIN_ROUTES}/"):
        return Scope.ADMIN
    return Scope.READ if method in ("GET", "HEAD") else Scope.WRITE


# -- for every door -----------------------------------------------------------------------------------------
def presented_grant(keys: Keyring, headers: Headers) -> Grant:
    """What the request's key may do. Raises UnauthorizedError."""
    key = _presented(headers)
    if key is None:
        raise UnauthorizedError(
            "send an API key: Authorization: Bearer aq_live_…, or X-API-Key: aq_live_…",
            challenge=_CHALLENGE,
        )
    found = keys.accept(key)
    if found is None:
        raise _not_valid()
    return found


def check_scope(grant: Grant, scope: Scope) -> None:
    """Raises ScopeError."""
    if scope not in grant.scopes:
        raise ScopeError(scope)


def check_queue(grant: Grant, name: str) -> None:
    """Raises ForbiddenError when a queue is none of the key's."""
    if not grant.allows_queue(name):
        raise ForbiddenError(f"this key is not for the queue {name}")


# -- within -------------------------------------------------------------------------------------------------
def _is_open(asked: Request) -> bool:
    endpoint = asked.endpoint
    if endpoint is None:  # no such route, or not with this method
        return not f"{asked.path}/".startswith("/v1/")
    return endpoint in OPEN_ENDPOINTS or asked.blueprint == DASHBOARD


def _not_valid() -> UnauthorizedError:
    return UnauthorizedError("this API key is not valid", challenge=_CHALLENGE + ', error="invalid_token"')


def _presented(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return next(iter(headers.getlist("x-api-key")), None)


def _needed_scope(asked: Request) -> Scope | None:
    """None for what is no route: that is a 404 or 405 to every key."""
    return None if asked.url_rule is None else scope_of(asked.url_rule.rule, asked.method)
