"""The client is held to the API: every route has a method, every member of an answer a field."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from aq.api.openapi.answered import answered
from aq.client import results
from aq.client.clients import Client
from aq.client.errors import APIError
from tests.api.api_world import open_api
from tests.client.script import World, reply

DOCUMENTS: dict[str, type[results.Result]] = {
    "WholeTask": results.Task,
    "Task": results.Task,
    "Attempt": results.Attempt,
    "Timing": results.Timing,
    "Callback": results.Callback,
    "TaskPage": results.TaskPage,
    "Explanation": results.Explanation,
    "Reason": results.Reason,
    "ComingRetry": results.ComingRetry,
    "Queue": results.Queue,
    "Schedule": results.Schedule,
    "ApiKeyWithText": results.ApiKey,
    "Stats": results.Stats,
    "StatsPoint": results.StatsPoint,
    "Readiness": results.Health,
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_member_of_an_answer_is_a_field(name: str) -> None:
    shape, kind = answered()[name], DOCUMENTS[name]
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    assert set(shape["properties"]) <= set(fields)
    surplus = set(fields) - set(shape["properties"])
    assert surplus <= ({"payload", "attempts"} if name == "Task" else set())
    inner = {"TaskPage": ("pagination", results.Pagination), "Queue": ("counts", results.Counts)}
    for member, of in [inner[name]] if name in inner else []:
        assert set(shape["properties"][member]["properties"]) == set(of.__struct_fields__)


GIVEN: dict[str, dict[str, Any]] = {
    "tasks.create": {"queue": "q", "webhook_url": "http://a/"},
    "tasks.create_batch": {"tasks": [{"queue": "q", "webhook_url": "http://a/"}]},
    "keys.create": {"name": "n"},
    "schedules.create": {"every": 5, "task": {"queue": "q", "webhook_url": "http://a/"}},
}
"""What a method takes, beside an ``id`` or a ``name`` that is ``x``."""


def asked(resource: str, name: str) -> tuple[str, str]:
    """The method and the path of the request that a client's method makes."""
    world = World.of(reply(400, None))
    client = Client("http://aq")
    thing = getattr(client, resource) if resource else client
    thing._core, thing._driver = world.core(), world.driver
    method = getattr(thing, name)
    signature = method.__signature__
    first = [it.name for it in signature.parameters.values() if it.kind is it.POSITIONAL_OR_KEYWORD]
    given = GIVEN.get(f"{resource}.{name}") or (
        {first[0]: "x"} if first and first[0] in ("id", "name") else {}
    )
    with pytest.raises(APIError):
        method(**given).page()  # of a list that is read as one goes on
    (request,) = world.sent
    return request.method, request.url.removeprefix("http://aq").partition("?")[0]


async def test_every_route_has_a_method() -> None:
    resources = {name: vars(type(getattr(Client("http://aq"), name))) for name in RESOURCES}
    sent = {asked(name, it) for name, own in resources.items() for it in own if not it.startswith("_")}
    sent |= {asked("", name) for name in ("stats", "health", "ready")}
    async with open_api() as api:
        routes = {
            (method, re.sub(r"<\w+>", "x", rule.rule))
            for rule in api.app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            if rule.rule.startswith("/v1/")
        }
    assert routes - sent == {("GET", "/v1/events")}  # a stream: see test_events.py
    assert sent - routes == {("GET", "/healthz"), ("GET", "/readyz")}


RESOURCES = ("tasks", "queues", "schedules", "keys")
