"""What a key may ask for: scopes, environments, queues, limits, and the moment of its revocation."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from typing import Any

import pytest
from quart import Response
from trio.testing import MockClock

from aq.api.auth import OPEN_ENDPOINTS, environment, grant, may_see, require_queue
from aq.api.limits import RateLimits
from aq.apikey import Scope
from aq.clock import ServiceClock
from aq.keys import Grant
from aq.task import Environment
from tests.api.api_world import KEY, URL, Api, Reply, check_problem, open_api

pytestmark = pytest.mark.usefixtures("both_doors")

BODY = {"queue": "q", "webhook_url": URL}
LIMITS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


async def made(api: Api, **fields: Any) -> str:
    """A new key's text."""
    _, text = await api.engine.keys.create("made", **fields)
    return text


def routes(api: Api) -> Iterator[tuple[str, str]]:
    """Every route under /v1, with each of its methods."""
    for rule in api.app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            if rule.rule.startswith("/v1/"):
                yield method, re.sub(r"<.*?>", "x", rule.rule)


# -- scopes -------------------------------------------------------------------------------------------------
NEEDED = {
    ("POST", "/v1/tasks"): "write",
    ("GET", "/v1/tasks"): "read",
    ("HEAD", "/v1/tasks"): "read",
    ("GET", "/v1/tasks/x"): "read",
    ("DELETE", "/v1/tasks/x"): "write",
    ("POST", "/v1/queues"): "write",
    ("GET", "/v1/queues"): "read",
    ("GET", "/v1/queues/x"): "read",
    ("PATCH", "/v1/queues/x"): "write",
    ("DELETE", "/v1/queues/x"): "write",
    ("POST", "/v1/queues/x/pause"): "write",
    ("POST", "/v1/queues/x/resume"): "write",
    ("POST", "/v1/apikeys"): "admin",
    ("GET", "/v1/apikeys"): "admin",
    ("GET", "/v1/apikeys/x"): "admin",
    ("DELETE", "/v1/apikeys/x"): "admin",
}


async def test_each_route_needs_one_scope_and_no_scope_includes_another() -> None:
    async with open_api() as api:
        keys = {str(scope): await made(api, scopes=[scope]) for scope in Scope}
        found = list(routes(api))
        assert set(NEEDED) <= set(found)
        for method, path in found:
            reading = "read" if method in ("GET", "HEAD") else "write"
            needed = NEEDED.get((method, path), "admin" if "/apikeys" in path else reading)
            for scope, key in keys.items():
                reply = await api.call(method, f"{path}?bogus=1", key=key)  # goes no further than that
                assert (reply.status == 403) is (scope != needed), (method, path, scope)


async def test_403_names_the_scope_that_is_missing() -> None:
    async with open_api() as api:
        reply = await api.post("/v1/tasks", BODY, key=await made(api, scopes=["read", "admin"]))
        assert "write" in check_problem(reply, 403)["error"]
        challenge = 'Bearer realm="asyncqueue", error="insufficient_scope", scope="write"'
        assert reply.headers["WWW-Authenticate"] == challenge
        assert (await api.get("/v1/tasks")).json["tasks"] == []


async def test_a_key_with_both_scopes_reads_and_writes() -> None:
    async with open_api() as api:
        key = await made(api)
        assert (await api.post("/v1/tasks", {**BODY, "delay": 9}, key=key)).status == 201
        assert (await api.get("/v1/tasks", key=key)).status == 200
        check_problem(await api.get("/v1/nothing", key=await made(api, scopes=["admin"])), 404)
        check_problem(await api.call("PUT", "/v1/tasks", key=await made(api, scopes=["read"])), 405)


# -- which requests need a key ------------------------------------------------------------------------------
def test_the_open_routes_are_these() -> None:
    assert {"healthz", "readyz", "receiver", "metrics", "openapi", "docs", "docs_file"} == OPEN_ENDPOINTS


async def test_every_route_under_v1_is_a_401_without_a_key() -> None:
    async with open_api() as api:
        for method, path in [*routes(api), ("GET", "/v1/nothing"), ("PUT", "/v1"), ("GET", "/v1/apikeys/")]:
            reply = await api.call(method, path, key=None)
            assert reply.status == 401, (method, path)
            assert reply.headers["WWW-Authenticate"] == 'Bearer realm="asyncqueue"'
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/nothing", 404), ("/v11/tasks", 404)):
            assert (await api.get(path, key=None)).status == status


@pytest.mark.parametrize("environment", ["live", "test"])
async def test_both_headers_take_a_key(environment: str) -> None:
    async with open_api() as api:
        key = await made(api, environment=environment)
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
            assert (await api.get("/v1/tasks", key=None, headers=headers)).status == 200
            wrong = {name: text[:-1] for name, text in headers.items()}
            reply = await api.get("/v1/tasks", key=None, headers=wrong)
            check_problem(reply, 401)
            assert reply.headers["WWW-Authenticate"].endswith('error="invalid_token"')


async def test_a_hash_is_no_key() -> None:
    async with open_api() as api:
        key, _ = await api.engine.keys.create("k")
        for text in (key.hash, f"aq_live_{key.hash}", key.id):
            check_problem(await api.get("/v1/tasks", key=text), 401)


async def test_revocation_holds_for_the_next_request() -> None:
    async with open_api() as api:
        key, text = await api.engine.keys.create("k")
        other = await made(api)
        assert (await api.get("/v1/tasks", key=text)).status == 200
        await api.engine.keys.revoke(key.id)
        reply = await api.get("/v1/tasks", key=text)
        check_problem(reply, 401)
        assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]
        for valid in (other, KEY):
            assert (await api.get("/v1/tasks", key=valid)).status == 200


# -- what routes are told -----------------------------------------------------------------------------------
async def probe(name: str) -> Response:
    require_queue(name)
    return Response(f"{environment()} {grant().key_id}")


async def seen(name: str) -> Response:
    return Response(str(may_see(name)))


async def test_routes_are_told_the_environment_and_the_queues_of_the_key() -> None:
    async with open_api() as api:
        api.app.add_url_rule("/v1/probe/<name>", "probe", probe, methods=["POST"])
        api.app.add_url_rule("/v1/seen/<name>", "seen", seen, methods=["GET"])
        key, text = await api.engine.keys.create("k", environment="test", queues=["mine"])
        assert (await api.post("/v1/probe/mine", key=text)).body.decode() == f"test {key.id}"
        assert "other" in check_problem(await api.post("/v1/probe/other", key=text), 403)["error"]
        assert [(await api.get(f"/v1/seen/{name}", key=text)).body for name in ("mine", "other")] == [
            b"True",
            b"False",
        ]
        assert (await api.post("/v1/probe/other")).body == b"live operator"
        assert (await api.get("/v1/seen/other")).body == b"True"


async def test_live_and_test_never_see_each_others_things() -> None:
    async with open_api() as api:
        api.runner.go.set()
        keys = {name: await made(api, environment=name) for name in ("live", "test")}
        ids = {}
        for name, key in keys.items():
            reply = await api.post("/v1/tasks", {**BODY, "delay": 9}, key=key)
            ids[name] = reply.json["id"]
            assert (await api.post("/v1/queues", {"name": f"{name}-only"}, key=key)).status == 201
        for name, other in (("live", "test"), ("test", "live")):
            key = keys[name]
            listed = (await api.get("/v1/tasks", key=key)).json
            assert [task["id"] for task in listed["tasks"]] == [ids[name]]
            assert listed["pagination"]["total"] == 1
            queues = (await api.get("/v1/queues", key=key)).json["queues"]
            pending = {queue["name"]: queue["counts"]["pending"] for queue in queues}
            assert pending == {f"{name}-only": 0, "q": 1}
            for method, path in (
                ("GET", f"/v1/tasks/{ids[other]}"),
                ("DELETE", f"/v1/tasks/{ids[other]}"),
                ("GET", f"/v1/queues/{other}-only"),
                ("POST", f"/v1/queues/{other}-only/pause"),
                ("DELETE", f"/v1/queues/{other}-only"),
            ):
                check_problem(await api.call(method, path, key=key), 404)
        for name, key in keys.items():
            assert (await api.call("DELETE", f"/v1/tasks/{ids[name]}", key=key)).status == 204


async def test_of_other_queues_a_key_sees_nothing_and_may_not_post_to_them() -> None:
    async with open_api() as api:
        key = await made(api, queues=["mine", "ours"])
        other = await api.task(queue="other")
        check_problem(await api.post("/v1/tasks", {**BODY, "queue": "other"}, key=key), 403)
        check_problem(await api.post("/v1/queues", {"name": "another"}, key=key), 403)
        own = await api.post("/v1/tasks", {**BODY, "queue": "mine", "delay": 9}, key=key)
        assert own.status == 201
        for method in ("GET", "DELETE"):
            check_problem(await api.call(method, f"/v1/tasks/{other['id']}", key=key), 404)
            check_problem(await api.call(method, "/v1/queues/other", key=key), 404)
        for path in ("/v1/tasks", "/v1/tasks?queue=mine"):
            found = (await api.get(path, key=key)).json["tasks"]
            assert [task["id"] for task in found] == [own.json["id"]]
        assert (await api.get("/v1/tasks?queue=other", key=key)).json["tasks"] == []
        queues = (await api.get("/v1/queues", key=key)).json["queues"]
        assert [queue["name"] for queue in queues] == ["mine"]
        assert (await api.call("DELETE", f"/v1/tasks/{own.json['id']}", key=key)).status == 204
        assert (await api.get(f"/v1/tasks/{other['id']}")).json["status"] == "pending"


# -- limits -------------------------------------------------------------------------------------------------
def limits(reply: Reply) -> tuple[int, ...]:
    return tuple(int(reply.headers[name]) for name in LIMITS)


async def test_a_key_with_a_limit_is_told_where_it_stands_and_refused_beyond(mock_clock: MockClock) -> None:
    async with open_api() as api:
        key = await made(api, rate_limit_per_minute=3)
        assert limits(await api.get("/v1/tasks", key=key)) == (3, 2, 60)
        mock_clock.jump(10.5)
        assert limits(await api.get("/v1/tasks", key=key)) == (3, 1, 50)
        assert limits(await api.get("/v1/tasks", key=key)) == (3, 0, 50)
        mock_clock.jump(49)
        for _ in range(2):
            reply = await api.post("/v1/tasks", BODY, key=key)
            check_problem(reply, 429)
            assert limits(reply) == (3, 0, 1)
            assert reply.headers["Retry-After"] == "1"
        assert (await api.get("/v1/tasks")).json["tasks"] == []
        mock_clock.jump(0.5)
        reply = await api.get("/v1/tasks", key=key)
        assert (reply.status, limits(reply)) == (200, (3, 2, 60))


async def test_every_answer_to_such_a_key_has_the_headers() -> None:
    async with open_api() as api:
        api.app.add_url_rule("/v1/broken", "broken", broken)
        key = await made(api, rate_limit_per_minute=100, scopes=["read", "write"])
        task = await api.task()
        asked: list[tuple[str, str, Any, int]] = [
            ("GET", "/v1/tasks", None, 200),
            ("HEAD", "/v1/tasks", None, 200),
            ("POST", "/v1/tasks", {**BODY, "delay": 9}, 201),
            ("DELETE", f"/v1/tasks/{task['id']}", None, 204),
            ("POST", "/v1/tasks", {}, 422),
            ("GET", "/v1/apikeys", None, 403),
            ("GET", "/v1/nothing", None, 404),
            ("PUT", "/v1/tasks", None, 405),
            ("GET", "/v1/broken", None, 500),
        ]
        for number, (method, path, body, status) in enumerate(asked):
            reply = await api.call(method, path, body, key=key)
            assert reply.status == status, (method, path)
            assert limits(reply)[:2] == (100, 99 - number)


async def broken() -> Response:
    raise RuntimeError("planted")


async def test_nobody_else_has_them_and_each_key_counts_for_itself() -> None:
    async with open_api() as api:
        keys = [await made(api, rate_limit_per_minute=1) for _ in range(2)]
        for key in keys:
            assert (await api.get("/v1/tasks", key=key)).status == 200
            assert (await api.get("/v1/tasks", key=key)).status == 429
        for _ in range(3):
            for reply in (
                await api.get("/v1/tasks"),
                await api.get("/v1/tasks", key=await made(api)),
                await api.get("/v1/tasks", key=None),
                await api.get("/healthz", key=keys[0]),
            ):
                assert reply.status in (200, 401)
                assert not set(LIMITS) & set(reply.headers.keys())


async def test_a_window_goes_with_its_key(mock_clock: MockClock) -> None:
    rates = RateLimits(ServiceClock())
    for _ in range(1_000):
        rates.take(Grant(key_id="k", environment=Environment.LIVE, scopes=(), rate_limit_per_minute=1))
    gc.collect()
    assert len(rates._windows) == 0


async def test_a_revoked_key_leaves_nothing_of_its_limit(mock_clock: MockClock) -> None:
    async with open_api() as api:
        key, text = await api.engine.keys.create("k", rate_limit_per_minute=1)
        await api.get("/v1/tasks", key=text)
        await api.engine.keys.revoke(key.id)
        reply = await api.get("/v1/tasks", key=text)
        assert reply.status == 401
        assert not set(LIMITS) & set(reply.headers.keys())
