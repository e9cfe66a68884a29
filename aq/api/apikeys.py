"""The routes of API keys. What a key may not make, it does not see either: that is a 404."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from quart import Response, request
from quart_trio import QuartTrio

from aq.api import views
from aq.api.auth import ForbiddenError, grant
from aq.api.body import read_object
from aq.api.openapi.operation import NO_CONTENT, Header, Tag, created, ok, operation, replayed
from aq.api.query import expect_nothing, no_parameters
from aq.api.requests import idempotency_key
from aq.apikey import ApiKey, NewKey
from aq.engine import Engine
from aq.errors import NotFoundError
from aq.instants import to_rfc3339
from aq.keys import Grant
from aq.rules import structure
from aq.task import Environment


@frozen
class ApiKeyRoutes:
    """``/v1/apikeys``."""

    engine: Engine

    def mount(self, app: QuartTrio) -> None:
        one = "/v1/apikeys/<key_id>"
        app.add_url_rule("/v1/apikeys", "create_apikey", self.create, methods=["POST"])
        app.add_url_rule("/v1/apikeys", "list_apikeys", self.list, methods=["GET"])
        app.add_url_rule(one, "get_apikey", self.get, methods=["GET"])
        app.add_url_rule(one, "revoke_apikey", self.revoke, methods=["DELETE"])

    @operation(
        Tag.KEYS,
        "Create an API key",
        created("ApiKeyWithText", "It is valid."),
        replayed("ApiKey"),
        body="NewApiKey",
        headers=(Header.IDEMPOTENCY_KEY,),
        problems=(409,),
    )
    async def create(self) -> Response:
        """The one answer that has a key's text: ``key``. Only its hash is kept."""
        no_parameters()
        new = structure((await read_object()).values, NewKey)
        require_within(grant(), new)
        done = await self.engine.keys.make(
            new, asking=grant().environment, idempotency_key=idempotency_key(request.headers)
        )
        key, text = done.value
        body = view_of(key) if text is None else {**view_of(key), "key": text}
        location = f"/v1/apikeys/{key.id}"
        answer = views.answer(body, 201, location=location, replayed=done.replayed)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @operation(Tag.KEYS, "List API keys", ok("ApiKeys", "The keys, without their texts."))
    async def list(self) -> Response:
        """Every key that the asking one may see, revoked ones too, by id."""
        no_parameters()
        asking = grant()
        visible = [key for key in self.engine.keys.list() if not refusals(asking, key)]
        return views.answer({"apikeys": [view_of(key) for key in visible]})

    @operation(Tag.KEYS, "Read an API key", ok("ApiKey", "The key, without its text."))
    async def get(self, key_id: str) -> Response:
        """Revoked ones too."""
        no_parameters()
        return views.answer(view_of(self._visible(key_id)))

    @operation(Tag.KEYS, "Revoke an API key", NO_CONTENT, problems=(409,))
    async def revoke(self, key_id: str) -> Response:
        """It holds when the answer is sent; of a key that is revoked already nothing changes."""
        await expect_nothing()
        await self.engine.keys.revoke(self._visible(key_id).id)
        return views.nothing()

    def _visible(self, key_id: str) -> ApiKey:
        key = self.engine.keys.get(key_id)
        if refusals(grant(), key):
            raise NotFoundError(f"there is no API key {key_id}")
        return key


def require_within(asking: Grant, new: NewKey) -> None:
    """Raises ForbiddenError for a key that the asking one may not make."""
    if told := refusals(asking, new):
        raise ForbiddenError("; ".join(told))


def refusals(asking: Grant, key: NewKey | ApiKey) -> list[str]:
    """Why a key that may manage keys may not manage that one: field by field, none when it may."""
    told = []
    if asking.environment is Environment.TEST and key.environment != Environment.TEST:
        told.append("environment must be test: this key is a test key")
    if asking.queues is not None and (key.queues is None or not set(key.queues) <= set(asking.queues)):
        told.append(f"queues must be a list of this key's own: {', '.join(asking.queues)}")
    return told


def view_of(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "environment": key.environment,
        "scopes": key.scopes,
        "queues": key.queues,
        "rate_limit_per_minute": key.rate_limit_per_minute,
        "created_at": to_rfc3339(key.created_at),
        "revoked_at": None if key.revoked_at is None else to_rfc3339(key.revoked_at),
    }
