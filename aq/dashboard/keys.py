"""API keys: who may ask for what. A key's text is on one page, once."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from quart import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from aq.api.apikeys import refusals, require_within, view_of
from aq.api.auth import environment, grant
from aq.apikey import ApiKey, NewKey, Scope
from aq.dashboard.policy import errors_of
from aq.dashboard.shell import done, page, repeats
from aq.engine import Engine
from aq.errors import NotFoundError, ValidationError
from aq.rules import structure

_REVOKE: Final = "/keys/<key_id>/revoke"
_NOTHING: Final[Mapping[str, Any]] = {"scopes": [Scope.READ, Scope.WRITE], "environment": "live"}


@frozen
class KeyPages:
    """``/keys``."""

    engine: Engine

    def mount(self, blueprint: Blueprint) -> None:
        blueprint.add_url_rule("/keys", "keys", self.list, methods=["GET"])
        blueprint.add_url_rule("/keys/new", "new_key", self.new, methods=["GET"])
        blueprint.add_url_rule("/keys/new", "make_key", self.make, methods=["POST"])
        blueprint.add_url_rule(_REVOKE, "ask_to_revoke", self.ask_to_revoke, methods=["GET"])
        blueprint.add_url_rule(_REVOKE, "revoke_key", self.revoke, methods=["POST"])

    async def list(self) -> Response:
        """Those that this session's key may manage; the newest first, revoked ones last."""
        found = [view_of(key) for key in self.engine.keys.list() if not refusals(grant(), key)]
        found.sort(key=lambda key: (key["revoked_at"] is None, key["id"]), reverse=True)
        return page("keys.html", keys=found, mine=grant().key_id)

    async def new(self) -> Response:
        return _form(_NOTHING)

    async def make(self) -> Response:
        """A form that is sent again makes no second key, and cannot show the first one's text."""
        form = await request.form
        values = _typed(form)
        try:
            new = structure(values, NewKey)
        except ValidationError as error:
            return _form(values, error)
        require_within(grant(), new)
        made = await self.engine.keys.make(
            new, asking=environment(), idempotency_key=form.get("once") or None
        )
        key, text = made.value
        return page("key_made.html", key=view_of(key), text=text)

    async def ask_to_revoke(self, key_id: str) -> Response:
        return self._asked(self._visible(key_id))

    async def revoke(self, key_id: str) -> Response:
        """Only with its name, typed by hand."""
        key = self._visible(key_id)
        if not await repeats(key.name.strip()):
            return self._asked(key, "That is not its name.")
        await self.engine.keys.revoke(key.id)
        return done("/keys", f"{key.name} is revoked: it is refused from now on.")

    def _asked(self, key: ApiKey, wrong: str | None = None) -> Response:
        status = 200 if wrong is None else 422
        return page(
            "key_revoke.html", status=status, key=view_of(key), mine=key.id == grant().key_id, wrong=wrong
        )

    def _visible(self, key_id: str) -> ApiKey:
        key = self.engine.keys.get(key_id)
        if refusals(grant(), key):
            raise NotFoundError(f"there is no API key {key_id}")
        return key


def _typed(form: MultiDict[str, str]) -> dict[str, Any]:
    """The values for `NewKey`; what is left empty is left out."""
    limit = form.get("rate_limit_per_minute", "").strip()
    given: dict[str, Any] = {
        "name": form.get("name", "").strip(),
        "environment": form.get("environment", ""),
        "scopes": form.getlist("scopes"),
        "queues": form.get("queues", "").replace(",", " ").split() or None,
        "rate_limit_per_minute": int(limit) if limit.isdecimal() and len(limit) < 12 else limit or None,
    }
    return given


def _form(values: Mapping[str, Any], error: ValidationError | None = None) -> Response:
    shown = {**values, "queues": " ".join(values.get("queues") or ())}
    return page(
        "key_new.html",
        status=200 if error is None else 422,
        values={name: "" if value is None else value for name, value in shown.items()},
        errors={} if error is None else errors_of(error),
        scopes=_SCOPES,
        once=secrets.token_urlsafe(),
        queues=grant().queues,
    )


_SCOPES: Final = {
    Scope.READ: "read tasks, queues, schedules, statistics, events",
    Scope.WRITE: "create, retry and delete; change, pause and purge queues",
    Scope.ADMIN: "manage API keys",
}
