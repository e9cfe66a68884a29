"""What every page has: the frame around it, what its templates know, and its answer's headers.

A page is a template that extends ``base.html``, rendered by `page`. Its data are the documents of the API.
"""

from __future__ import annotations

import gzip
from typing import Any, Final

from attrs import frozen
from jinja2 import Environment, PackageLoader, StrictUndefined
from quart import Response, g, redirect, request

from aq.api.auth import ScopeError
from aq.apikey import Scope
from aq.dashboard import words
from aq.dashboard.assets import address
from aq.dashboard.sessions import Session
from aq.version import __version__

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer of the dashboard. (Without a referrer the ``Origin`` of a form would be told as null.)"""


_FASTEST: Final = 1
"""Compressing a page that has a token gives nothing away: other sites cannot ask for it with the cookie."""


@frozen
class Entry:
    """A page in the rail. ``key`` is the letter that opens it."""

    name: str
    path: str
    title: str
    key: str
    needs: Scope = Scope.READ


NAV: Final = (
    Entry("overview", "/", "Overview", "o"),
    Entry("queues", "/queues", "Queues", "q"),
    Entry("tasks", "/tasks", "Tasks", "t"),
    Entry("failures", "/failures", "Failures", "f"),
    Entry("schedules", "/schedules", "Schedules", "s"),
    Entry("keys", "/keys", "Keys", "k", Scope.ADMIN),
)
_templates: Final = Environment(
    loader=PackageLoader("aq.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals.update(asset=address, version=__version__, nav=NAV)
_templates.filters.update(words.FILTERS)


def session() -> Session:
    """This request's; not to be asked for where nobody needs to be signed in."""
    found: Session = g.session
    return found


def page(template: str, *, status: int = 200, **context: Any) -> Response:
    """The template as an answer. ``context`` is what it shows; `_frame` says what it knows besides."""
    text = _templates.get_template(template).render(**_frame(), **context)
    headers = {"Vary": "Accept-Encoding"}
    body = text.encode()
    if request.accept_encodings["gzip"] > 0:
        body = gzip.compress(body, _FASTEST, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, status=status, content_type="text/html; charset=utf-8", headers=headers)


def done(path: str, notice: str) -> Response:
    """The answer to an action that went well: on to the page, which says so."""
    session().notice = notice
    return redirect(path, 303)  # type: ignore[return-value]  # Quart's stub says Werkzeug's


async def repeats(expected: str) -> bool:
    """Whether just that was typed into the input ``typed``, to confirm it; a number maybe with commas."""
    typed = (await request.form).get("typed", "").strip()
    return bool(expected) and (typed == expected or typed.replace(",", "") == expected)


def lacking(scope: Scope) -> str | None:
    """Why this session's key may not do what needs the scope; None when it may. For disabled buttons."""
    return None if scope in session().grant.scopes else str(ScopeError(scope))


def _frame() -> dict[str, Any]:
    """``signed_in`` is the `Session` or None; ``notice`` is told once."""
    signed_in: Session | None = g.get("session")
    notice, frame = None, {"signed_in": signed_in, "theme": _theme(), "here": request.path}
    if signed_in is not None and request.method == "GET" and "HX-Request" not in request.headers:
        notice, signed_in.notice = signed_in.notice, None
    if signed_in is not None:
        frame["may_write"] = lacking(Scope.WRITE)
        frame["environment"] = signed_in.grant.environment
    return {**frame, "notice": notice, "now": g.now}


def _theme() -> str:
    asked = request.cookies.get("aq_theme")
    return asked if asked in ("light", "dark") else "auto"
