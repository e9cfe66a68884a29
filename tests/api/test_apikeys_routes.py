"""API keys over HTTP."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from quart import Response

from aq.apikey import Scope
from tests.api.api_world import KEY, URL, Api, check_problem, open_api

EVERY = [str(scope) for scope in Scope]


async def create(api: Api, key: str = KEY, **fields: Any) -> dict[str, Any]:
    reply = await api.post("/v1/apikeys", {"name": "made", **fields}, key=key)
    assert reply.status == 201, reply.body
    return dict(reply.json)


async def listed(api: Api, key: str = KEY) -> list[str]:
    """The ids that a key is shown, and that it can get one by one."""
    ids = [shown["id"] for shown in (await api.get("/v1/apikeys", key=key)).json["apikeys"]]
    for known in ids:
        assert (await api.get(f"/v1/apikeys/{known}", key=key)).status == 200
    return ids


async def test_a_key_is_made_with_defaults_and_works() -> None:
    async with open_api() as api:
        reply = await api.post("/v1/apikeys", {"name": "ci"})
        assert reply.status == 201
        shown = reply.json
        assert reply.headers["Location"] == f"/v1/apikeys/{shown['id']}"
        assert reply.headers["Cache-Control"] == "no-store"
        assert re.fullmatch(r"key_[0-9A-HJKMNP-TV-Z]{26}", shown["id"])
        key = shown.pop("key")
        assert re.fullmatch(r"aq_live_[A-Za-z0-9]{43}", key)
        assert shown.pop("created_at").endswith("Z")
        assert shown == {
            "id": shown["id"],
            "name": "ci",
            "environment": "live",
            "scopes": ["read", "write"],
            "queues": None,
            "rate_limit_per_minute": None,
            "revoked_at": None,
        }
        assert (
            await api.post("/v1/tasks", {"queue": "q", "webhook_url": URL, "delay": 9}, key=key)
        ).status == 201


async def test_a_key_is_made_with_every_field() -> None:
    async with open_api() as api:
        fields: dict[str, Any] = {
            "name": "ci",
            "environment": "test",
            "scopes": ["read"],
            "queues": ["a", "b"],
            "rate_limit_per_minute": 5,
        }
        shown = await create(api, **fields)
        assert {name: shown[name] for name in fields} == fields
        assert shown["key"].startswith("aq_test_")
        reply = await api.get("/v1/tasks", key=shown["key"])
        assert (reply.status, reply.headers["X-RateLimit-Limit"]) == (200, "5")
        check_problem(await api.post("/v1/tasks", {}, key=shown["key"]), 403)


async def test_every_wrong_field_is_named() -> None:
    async with open_api() as api:
        wrong = {
            "name": "",
            "environment": "prod",
            "scopes": ["root"],
            "queues": ["a b"],
            "rate_limit_per_minute": 0,
            "key": "aq_live_mine",
            "id": "key_mine",
        }
        assert (await api.post("/v1/apikeys", wrong)).fields == set(wrong)
        assert (await api.post("/v1/apikeys", {})).fields == {"name"}
        assert await listed(api) == []


async def test_a_text_is_shown_once_and_a_hash_never(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_api() as api:
        shown = await create(api)
        text = shown.pop("key")
        digest = api.engine.keys.get(shown["id"]).hash
        one, many = await api.get(f"/v1/apikeys/{shown['id']}"), await api.get("/v1/apikeys")
        assert one.json == shown
        assert many.json == {"apikeys": [shown]}
        await api.post("/v1/tasks", {"queue": "q"}, key=text)
        api.app.add_url_rule("/v1/broken", "broken", broken)
        failed = await api.get("/v1/broken", key=text)
        assert failed.status == 500
        assert "planted" in caplog.text
        for place in (one.body.decode(), many.body.decode(), failed.body.decode(), caplog.text):
            assert text.partition("_live_")[2] not in place
            assert digest not in place


async def broken() -> Response:
    raise RuntimeError("planted")


async def test_a_revoked_key_is_out_at_once_and_stays_in_the_list() -> None:
    async with open_api() as api:
        shown = await create(api)
        path = f"/v1/apikeys/{shown['id']}"
        for _ in range(2):
            reply = await api.call("DELETE", path)
            assert (reply.status, reply.body) == (204, b"")
            check_problem(await api.get("/v1/tasks", key=shown["key"]), 401)
        assert (await api.get(path)).json["revoked_at"].endswith("Z")
        assert await listed(api) == [shown["id"]]
        check_problem(await api.get("/v1/apikeys/key_none"), 404)
        check_problem(await api.call("DELETE", "/v1/apikeys/key_none"), 404)


async def test_a_test_key_sees_and_makes_test_keys_only() -> None:
    async with open_api() as api:
        live = await create(api)
        test = await create(api, environment="test", scopes=["admin"])
        assert await listed(api) == [live["id"], test["id"]]
        assert await listed(api, test["key"]) == [test["id"]]
        for method in ("GET", "DELETE"):
            check_problem(await api.call(method, f"/v1/apikeys/{live['id']}", key=test["key"]), 404)
        assert (await api.get("/v1/tasks", key=live["key"])).status == 200
        for asked in ({}, {"environment": "live"}):
            reply = await api.post("/v1/apikeys", {"name": "n", **asked}, key=test["key"])
            assert "environment must be test" in check_problem(reply, 403)["error"]
        other = await create(api, test["key"], environment="test", scopes=EVERY)
        assert other["key"].startswith("aq_test_")
        assert await listed(api, test["key"]) == [test["id"], other["id"]]
        assert (await api.call("DELETE", f"/v1/apikeys/{other['id']}", key=test["key"])).status == 204


async def test_a_live_key_sees_and_makes_both() -> None:
    async with open_api() as api:
        admin = (await create(api, scopes=["admin"]))["key"]
        made = [await create(api, admin, environment=name) for name in ("live", "test")]
        assert [shown["key"][:8] for shown in made] == ["aq_live_", "aq_test_"]
        assert (await listed(api, admin))[1:] == [shown["id"] for shown in made]
        for shown in made:
            assert (await api.call("DELETE", f"/v1/apikeys/{shown['id']}", key=admin)).status == 204


async def test_a_key_with_queues_manages_keys_for_some_of_these_only() -> None:
    async with open_api() as api:
        wide = await create(api)
        admin = await create(api, scopes=["admin"], queues=["a", "b"])
        for queues in (None, ["c"], ["a", "c"]):
            reply = await api.post("/v1/apikeys", {"name": "n", "queues": queues}, key=admin["key"])
            assert "queues must be a list of this key's own: a, b" in check_problem(reply, 403)["error"]
        check_problem(await api.post("/v1/apikeys", {"name": "n"}, key=admin["key"]), 403)
        narrow = [await create(api, admin["key"], queues=queues) for queues in (["a"], ["b", "a"])]
        assert await listed(api, admin["key"]) == [shown["id"] for shown in (admin, *narrow)]
        check_problem(await api.call("DELETE", f"/v1/apikeys/{wide['id']}", key=admin["key"]), 404)
        assert (await api.get("/v1/tasks", key=wide["key"])).status == 200


async def test_409_for_the_last_admin_key_without_an_operators() -> None:
    async with open_api(operator=False) as api:
        text = await api.engine.keys.first_key()
        assert text is not None
        [last] = await listed(api, text)
        reply = await api.call("DELETE", f"/v1/apikeys/{last}", key=text)
        assert "last" in check_problem(reply, 409)["error"]
        await create(api, text, scopes=["admin"])
        assert (await api.call("DELETE", f"/v1/apikeys/{last}", key=text)).status == 204
        check_problem(await api.get("/v1/apikeys", key=text), 401)


async def test_with_an_operators_key_the_last_admin_key_may_go() -> None:
    async with open_api() as api:
        last = await create(api, scopes=["admin"])
        assert (await api.call("DELETE", f"/v1/apikeys/{last['id']}")).status == 204


async def test_503_to_changes_while_draining() -> None:
    async with open_api() as api:
        shown = await create(api)
        api.engine.begin_drain()
        check_problem(await api.post("/v1/apikeys", {"name": "n"}), 503)
        check_problem(await api.call("DELETE", f"/v1/apikeys/{shown['id']}"), 503)
        assert await listed(api) == [shown["id"]]


async def test_what_is_no_json_object_is_refused() -> None:
    async with open_api() as api:
        check_problem(await api.post("/v1/apikeys", ["name"]), 400)
        check_problem(
            await api.post("/v1/apikeys", raw=b"name=n", headers={"Content-Type": "text/plain"}), 415
        )


async def test_an_idempotency_key_makes_one_key_whose_text_is_shown_once() -> None:
    async with open_api() as api:
        once = {"Idempotency-Key": "once"}
        first = await api.post("/v1/apikeys", {"name": "ci"}, headers=once)
        again = await api.post("/v1/apikeys", {"name": "ci"}, headers=once)
        assert (first.status, again.status) == (201, 200)
        assert again.headers["Idempotent-Replay"] == "true"
        text = first.json.pop("key")
        assert again.json == {name: value for name, value in first.json.items() if name != "key"}
        assert text.encode() not in again.body
        assert len(await listed(api)) == 1
        check_problem(await api.post("/v1/apikeys", {"name": "other"}, headers=once), 409)
