"""The way in: sign-in by API key, and what each request of the dashboard must show.

A request is let in by its session's cookie, counts towards its key's limit, needs the scope that the API
needs for the same, and, if it changes anything, the token that the session's own pages carry. After
that the key's grant is in force, as for a request of the API.
"""

from __future__ import annotations

import secrets
from typing import Final
from urllib.parse import quote, urlsplit

from attrs import define, field
from quart import Blueprint, Response, g, redirect, request

from aq.api.auth import ForbiddenError, check_scope
from aq.api.limits import RateLimitedError, RateLimits
from aq.apikey import Scope
from aq.dashboard.sessions import SESSION_SECONDS, Attempts, Session, Sessions
from aq.dashboard.shell import HEADERS, page, session
from aq.engine import Engine
from aq.errors import NotFoundError
from aq.keys import Grant

OPEN: Final = frozenset({"sign_in_page", "sign_in", "sign_in_once", "asset", "favicon"})
"""What needs no session."""
_NEEDS_NOTHING: Final = "sign_out"
_SEEN_ONLY_HERE: Final = "no-store"


def new_once() -> str:
    """What signs in once (256 random bits)."""
    return secrets.token_urlsafe(32)


@define(eq=False)
class Door:
    """``once`` is a token that signs in without a key, a single time, as ``once_grant`` says."""

    engine: Engine
    limits: RateLimits
    once: str | None = None
    once_grant: Grant | None = None
    sessions: Sessions = field(init=False)
    _attempts: Attempts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sessions = Sessions(self.engine.clock)
        self._attempts = Attempts(self.engine.clock)

    def mount(self, blueprint: Blueprint) -> None:
        blueprint.before_request(self._let_in)
        blueprint.after_request(_harden)
        blueprint.add_url_rule("/signin", "sign_in_page", self.sign_in_page, methods=["GET"])
        blueprint.add_url_rule("/signin", "sign_in", self.sign_in, methods=["POST"])
        blueprint.add_url_rule("/signin/<token>", "sign_in_once", self.sign_in_once, methods=["GET"])
        blueprint.add_url_rule("/signout", "sign_out", self.sign_out, methods=["POST"])

    # -- routes ---------------------------------------------------------------------------------------------
    async def sign_in_page(self) -> Response:
        """Asks for a key; goes on to ``next``."""
        if self._session() is not None:
            return _to(_next())
        return page("signin.html", next=_next(), wrong=None)

    async def sign_in(self) -> Response:
        """A key for a cookie."""
        if not _from_here():
            raise ForbiddenError("this form was sent by another site")
        address = request.remote_addr or ""
        if wait := self._attempts.wait(address):
            raise RateLimitedError(f"too many wrong keys; the next is taken in {wait} s", retry_after=wait)
        key = (await request.form).get("key", "").strip()
        grant = self.engine.keys.accept(key)
        if grant is None:
            self._attempts.failed(address)
            return page("signin.html", status=401, next=_next(), wrong="This key is not valid.")
        return self._opened(grant, f"{self._name(grant)} …{key[-4:]}", _next())

    async def sign_in_once(self, token: str) -> Response:
        """The address that a development server prints: it opens a session a single time."""
        if self._session() is not None:
            return _to("/")
        if self.once is None or self.once_grant is None or not _same(token, self.once):
            wrong = "This address has been used, or is of an earlier run. Sign in with the key beside it."
            return page("signin.html", status=401, next="/", wrong=wrong)
        self.once = None
        return self._opened(self.once_grant, self._name(self.once_grant), "/")

    async def sign_out(self) -> Response:
        """The end of this session, in all of its windows."""
        self.sessions.close(session())
        answer = _to("/signin")
        answer.delete_cookie(_cookie(), path="/")
        return answer

    # -- within ---------------------------------------------------------------------------------------------
    async def _let_in(self) -> Response | None:
        g.now = self.engine.clock.now()
        route = (request.endpoint or "").rpartition(".")[2]
        if route in OPEN:
            return None
        found = self._session()
        if found is None:
            return _to_sign_in()
        g.session, g.grant = found, found.grant
        standing = self.limits.take(found.grant)
        if standing is not None:
            g.standing = standing
            standing.check()
        if request.method not in ("GET", "HEAD"):
            await _check_token(found)
        if route != _NEEDS_NOTHING:
            check_scope(found.grant, _needed())
        return None

    def _session(self) -> Session | None:
        return self.sessions.find(request.cookies.get(_cookie()))

    def _opened(self, grant: Grant, label: str, path: str) -> Response:
        if (before := self._session()) is not None:
            self.sessions.close(before)
        _, value = self.sessions.open(grant, label)
        answer = _to(path)
        answer.set_cookie(
            _cookie(),
            value,
            max_age=SESSION_SECONDS,
            path="/",
            secure=_secure(),
            httponly=True,
            samesite="Strict",
        )
        return answer

    def _name(self, grant: Grant) -> str:
        try:
            return self.engine.keys.get(grant.key_id).name
        except NotFoundError:  # an operator's key is not stored
            return "operator's key"


def _needed() -> Scope:
    """As `aq.api.auth.scope_of` has it for the API: keys need ``admin``."""
    if f"{request.path}/".startswith("/keys/"):
        return Scope.ADMIN
    return Scope.READ if request.method in ("GET", "HEAD") else Scope.WRITE


async def _check_token(found: Session) -> None:
    given = request.headers.get("X-CSRF-Token") or (await request.form).get("csrf", "")
    if not _from_here() or not _same(given, found.csrf):
        raise ForbiddenError(
            "this form is of an earlier session, or was sent by another site: reload the page"
        )


def _from_here() -> bool:
    """Whether a page of this origin asks, as far as the browser says so."""
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def _same(given: str, known: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "surrogatepass"), known.encode())


def _secure() -> bool:
    """Whether the browser came by https, here or to the proxy in front."""
    return request.is_secure or request.headers.get("X-Forwarded-Proto") == "https"


def _cookie() -> str:
    """By https a name that no other host can set; browsers refuse it over http."""
    return "__Host-aq" if _secure() else "aq_session"


def _next() -> str:
    """Where to go on: a path of this dashboard, never another site's."""
    asked = request.args.get("next", "/")
    plain = asked.startswith("/") and not asked.startswith("//") and "\\" not in asked and asked.isprintable()
    return asked if plain and not asked.startswith("/signin") else "/"


def _to(path: str) -> Response:
    return redirect(path, 303)  # type: ignore[return-value]  # Quart's stub says Werkzeug's


def _to_sign_in() -> Response:
    """A page is asked for again after the sign-in; a script is told, and leads its page there."""
    if request.method != "GET":
        return _to("/signin")
    asked = request.full_path.rstrip("?") if "HX-Request" not in request.headers else "/"
    place = f"/signin?next={quote(asked)}" if asked != "/" else "/signin"
    if "HX-Request" in request.headers:
        return Response(b"", status=401, headers={"HX-Redirect": "/signin"})
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) != "text/html":
        return Response(b"", status=401)
    return _to(place)


async def _harden(response: Response) -> Response:
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", _SEEN_ONLY_HERE)
    return response
