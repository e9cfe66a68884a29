"""Every status that the API answers for something wrong, in its exact form."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from aq.api.app import create_app
from aq.errors import ConflictError, OverloadedError
from aq.opening import open_engine
from tests.api.api_world import KEY, SECRET, URL, Api, SteeredRunner, check_problem, open_api

pytestmark = pytest.mark.usefixtures("both_doors")

BODY = {"queue": "q", "webhook_url": URL}


async def test_422_names_every_wrong_field() -> None:
    async with open_api() as api:
        wrong = {
            "queue": "a b",
            "webhook_url": "not a url",
            "payload": [1],
            "delay": -1,
            "priority": 11,
            "max_retries": -1,
            "timeout": 0,
            "prioritty": 5,
        }
        reply = await api.post("/v1/tasks", wrong)
        document = check_problem(reply, 422)
        assert reply.fields == set(wrong)
        assert all(error["message"] for error in document["errors"])


async def test_422_names_what_the_guard_and_the_times_refuse_beside_other_fields() -> None:
    """With the runner that delivers webhooks, which has a guard."""
    fine = {**BODY, "webhook_url": "https://example.com/"}
    private, late = {"webhook_url": "http://10.0.0.1/"}, {"delay": 100, "expires_in": 5}
    async with open_engine(signing_secrets=SECRET) as engine:
        engine.keys.add_operator_key(KEY)
        api = Api(create_app(engine), engine, SteeredRunner())
        for wrong, fields in (
            ({**private, "priority": 99}, {"webhook_url", "priority"}),
            ({**private, **late}, {"webhook_url", "expires_in"}),
            ({**late, "queue": "a b"}, {"expires_in", "queue"}),
            ({**private, "callback_url": "http://[::1]/", "odd": 1}, {"webhook_url", "callback_url", "odd"}),
            ({**private, "delay": 0, "run_at": "2026-01-31T09:30:00Z"}, {"webhook_url", "run_at"}),
            ({"run_at": "9999-01-31T09:30:00Z", "tags": "x"}, {"run_at", "tags"}),
        ):
            assert (await api.post("/v1/tasks", {**fine, **wrong})).fields == fields
            batch = {"tasks": [fine, {**fine, **wrong}, {**fine, "idempotency_key": "k"}, 5], "odd": 1}
            named = {f"tasks[1].{field}" for field in fields}
            named |= {"tasks[2].idempotency_key", "tasks[3]", "odd"}
            assert (await api.post("/v1/tasks/batch", batch)).fields == named
        refused = (await api.post("/v1/tasks", {**fine, **private})).json
        assert refused["detail"] == (
            "webhook_url must not go to a private address (RFC 1918),"
            " unless the service was started with --allow"
        )
        schedule = {"every": 0, "task": {**fine, **private, "priority": 99, "delay": 5}}
        named = {"every", "task.webhook_url", "task.priority", "task.delay"}
        assert (await api.post("/v1/schedules", schedule)).fields == named
        kept = await api.post("/v1/schedules", {"every": 60, "task": fine})
        path = f"/v1/schedules/{kept.json['id']}"
        assert (await api.call("PATCH", path, schedule)).fields == named


async def test_422_names_a_key_that_differs_beside_other_fields() -> None:
    async with open_api() as api:
        wrong = {**BODY, "idempotency_key": "a", "priority": 99}
        reply = await api.post("/v1/tasks", wrong, headers={"Idempotency-Key": "b"})
        assert reply.fields == {"idempotency_key", "priority"}


async def test_422_names_the_fields_within_a_field() -> None:
    rate = {"per_second": 0, "burst": "1", "odd": 1}
    named = {"rate_limit.per_second", "rate_limit.burst", "rate_limit.odd", "timeout"}
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q"})
        wrong = {"rate_limit": rate, "timeout": 0}
        assert (await api.post("/v1/queues", {"name": "r", **wrong})).fields == named
        assert (await api.call("PATCH", "/v1/queues/q", wrong)).fields == named
        assert (await api.call("PATCH", "/v1/queues/q", {"rate_limit": 5})).fields == {"rate_limit"}


async def test_422_names_them_all_and_tells_a_person_the_first_few() -> None:
    async with open_api() as api:
        wrong = {f"bogus{number:04}": 1 for number in range(1_000)}
        reply = await api.post("/v1/tasks", {**BODY, **wrong})
        document = check_problem(reply, 422)
        assert reply.fields == set(wrong)
        assert document["error"].startswith("bogus0000 ")
        assert document["error"].endswith("; and 980 more")


async def test_422_names_what_is_missing() -> None:
    async with open_api() as api:
        assert (await api.post("/v1/tasks", {})).fields == {"queue", "webhook_url"}


NOT_JSON = {
    "nothing": b"",
    "words": b"not json",
    "cut": b'{"queue": "q"',
    "two values": b'{"a": 1}{"b": 2}',
    "single quotes": b"{'a': 1}",
    "NaN": b'{"queue": "q", "payload": {"n": NaN}}',
    "Infinity": b'{"queue": "q", "payload": {"n": [-Infinity]}}',
    "a name twice": b'{"queue": "q", "queue": "r"}',
    "a name twice inside": b'{"queue": "q", "payload": {"a": [{"b": 1, "\\u0062": 2}]}}',
    "lone surrogate": b'{"queue": "q", "payload": {"a": "\\ud800"}}',
    "lone surrogate as a name": b'{"queue": "q", "payload": {"\\uDFFF": 1}}',
    "bad UTF-8": b'{"queue": "\xff"}',
    "UTF-8 of a surrogate": b'{"queue": "\xed\xa0\x80"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "control character": b'{"queue": "a\nb"}',
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "an array": b"[]",
    "null": b"null",
}


@pytest.mark.parametrize("raw", NOT_JSON.values(), ids=NOT_JSON.keys())
async def test_400_for_what_is_not_a_json_object(raw: bytes) -> None:
    async with open_api() as api:
        check_problem(await api.post("/v1/tasks", raw=raw), 400)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path", ["/v1/tasks", "/v1/tasks/x", "/v1/queues", "/v1/queues/x", "/v1", "/v1/x", "/%761/tasks"]
)
async def test_401_on_every_route_and_method(method: str, path: str) -> None:
    async with open_api() as api:
        reply = await api.call(method, path, key=None)
        check_problem(reply, 401)
        assert reply.headers["WWW-Authenticate"] == 'Bearer realm="asyncqueue"'


BAD_KEYS = {
    "wrong": f"Bearer aq_live_{'x' * 43}",
    "cut": f"Bearer {KEY[:-1]}",
    "longer": f"Bearer {KEY}x",
    "empty": "Bearer ",
    "no scheme": KEY,
    "other scheme": f"Basic {KEY}",
    "not ASCII": "Bearer aq_live_é",
}


@pytest.mark.parametrize("header", BAD_KEYS.values(), ids=BAD_KEYS.keys())
async def test_401_for_a_bad_key(header: str) -> None:
    async with open_api() as api:
        reply = await api.post("/v1/tasks", BODY, headers={"Authorization": header})
        check_problem(reply, 401)
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert KEY not in reply.body.decode()
        assert (await api.get("/v1/tasks")).json["pagination"]["total"] == 0


async def test_both_headers_take_a_key() -> None:
    async with open_api() as api:
        assert (await api.get("/v1/tasks", key=None, headers={"X-API-Key": KEY})).status == 200
        assert (
            await api.get("/v1/tasks", key=None, headers={"Authorization": f"bearer {KEY}"})
        ).status == 200
        check_problem(await api.get("/v1/tasks", key=None, headers={"X-API-Key": KEY + "x"}), 401)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/v1/tasks/",
        "/v1/tasks/task_00000000000000000000000000",
        "/v1/tasks/nonsense",
        "/v1/tasks/%00",
        "/v1/tasks/task_%C3%A9",
        "/v1/tasks/task_" + "Z" * 500,
        "/v1/queues/none",
        "/v1/queues/a%20b",
        "/dev/receiver",
    ],
)
async def test_404(path: str) -> None:
    async with open_api() as api:
        check_problem(await api.get(path), 404)
        if path.startswith("/v1/"):
            check_problem(await api.call("DELETE", path), 404)


async def test_405_says_which_methods_there_are() -> None:
    async with open_api() as api:
        reply = await api.call("PUT", "/v1/tasks", {})
        check_problem(reply, 405)
        assert set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}
        check_problem(await api.call("OPTIONS", "/v1/tasks"), 405)


async def test_what_http_itself_refuses_has_the_same_type_on_every_python() -> None:
    """Python changes the words of its statuses: 413 had others before 3.13."""
    body = {**BODY, "payload": {"x": "y" * (1 << 20)}}
    async with open_api() as api:
        for method, path, sent, status, title in (
            ("GET", "/v1/nothing", None, 404, "Not found"),
            ("GET", "/v1/tasks/task_" + "0" * 26, None, 404, "Not found"),
            ("PUT", "/v1/tasks", {}, 405, "Method not allowed"),
            ("POST", "/v1/tasks", body, 413, "Content too large"),
        ):
            reply = await api.call(method, path, sent)
            check_problem(reply, status)
            kind = "urn:problem-type:asyncqueue:" + title.lower().replace(" ", "-")
            assert (reply.json["title"], reply.json["type"]) == (title, kind)


async def test_409_for_what_is_not_pending() -> None:
    async with open_api() as api:
        task = await api.task(delay=0)
        await api.runner.begun.wait()
        check_problem(await api.call("DELETE", f"/v1/tasks/{task['id']}"), 409)
        api.runner.go.set()
        await api.engine.wait(task["id"])
        check_problem(await api.call("DELETE", f"/v1/tasks/{task['id']}"), 409)


async def test_413_for_a_body_over_1_mib() -> None:
    async with open_api() as api:
        payload = {"x": "y" * (1 << 20)}
        check_problem(await api.post("/v1/tasks", {**BODY, "payload": payload}), 413)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
    ],
)
async def test_415(headers: dict[str, str]) -> None:
    async with open_api() as api:
        check_problem(await api.post("/v1/tasks", BODY, headers=headers), 415)


async def test_media_types_that_are_json() -> None:
    async with open_api() as api:
        for kind in ("application/json; charset=UTF-8", "APPLICATION/JSON", "application/ld+json"):
            reply = await api.post("/v1/tasks", BODY, headers={"Content-Type": kind})
            assert reply.status == 201


async def test_422_for_an_unknown_query_parameter_on_every_route() -> None:
    async with open_api(dev=True) as api:
        rules = [rule for rule in api.app.url_map.iter_rules() if rule.methods]
        assert len(rules) >= 13
        for rule in rules:
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                path = rule.rule.replace("<task_id>", "x").replace("<name>", "x")
                reply = await api.call(method, f"{path}?bogus=1")
                check_problem(reply, 422)
                assert reply.fields == {"bogus"}, (method, path)


BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/tasks"): BODY,
    ("POST", "/v1/tasks/batch"): {"tasks": [BODY]},
    ("POST", "/v1/queues"): {"name": "n"},
    ("PATCH", "/v1/queues/<name>"): {"timeout": 9},
    ("POST", "/v1/queues/<name>/purge"): {},
    ("POST", "/v1/queues/<name>/retry"): {},
    ("POST", "/v1/apikeys"): {"name": "n"},
    ("POST", "/v1/schedules"): {"every": 60, "task": BODY},
    ("PATCH", "/v1/schedules/<schedule_id>"): {"every": 60},
}
"""The routes that take a body, with one that they would accept; every other write takes none."""


async def test_422_for_an_unknown_field_on_every_route_that_takes_a_body() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q"})
        schedule = (await api.post("/v1/schedules", {"every": 60, "task": BODY})).json["id"]
        before = (await api.get("/v1/queues")).body, (await api.get("/v1/schedules")).body
        for (method, rule), body in BODIES.items():
            path = rule.replace("<name>", "q").replace("<schedule_id>", schedule)
            assert (await api.call(method, path, {**body, "bogus": 1, "": 2})).fields == {"bogus", ""}, rule
        inner: list[tuple[str, str, dict[str, Any], str]] = [
            ("POST", "/v1/tasks/batch", {"tasks": [BODY, {**BODY, "bogus": 1}]}, "tasks[1].bogus"),
            ("POST", "/v1/schedules", {"every": 60, "task": {**BODY, "bogus": 1}}, "task.bogus"),
            ("PATCH", f"/v1/schedules/{schedule}", {"task": {**BODY, "bogus": 1}}, "task.bogus"),
            (
                "POST",
                "/v1/queues",
                {"name": "n", "rate_limit": {"per_second": 1, "bogus": 1}},
                "rate_limit.bogus",
            ),
        ]
        for method, path, body, field in inner:
            assert (await api.call(method, path, body)).fields == {field}
        assert ((await api.get("/v1/queues")).body, (await api.get("/v1/schedules")).body) == before
        assert (await api.get("/v1/tasks")).json["tasks"] == []
        assert (await api.get("/v1/apikeys")).json["apikeys"] == []


async def test_422_for_any_field_on_every_other_write() -> None:
    """Nothing is done then, and nothing that is not JSON is passed over either."""
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q"})
        schedule = (await api.post("/v1/schedules", {"every": 60, "task": BODY})).json["id"]
        key, _ = await api.engine.keys.create("k")
        task = (await api.task(queue="r"))["id"]
        seen = 0
        for rule in api.app.url_map.iter_rules():
            for method in {"POST", "PATCH", "PUT", "DELETE"} & (rule.methods or set()):
                if (method, rule.rule) not in BODIES:
                    path = rule.rule.replace("<name>", "q").replace("<schedule_id>", schedule)
                    path = path.replace("<task_id>", task).replace("<key_id>", key.id)
                    reply = await api.call(method, f"{path}?odd=1", {"bogus": 1, "dry_run": True})
                    assert reply.fields == {"odd", "bogus", "dry_run"}
                    check_problem(await api.call(method, path, raw=b"{"), 400)
                    check_problem(await api.call(method, path, raw=b"[]"), 400)
                    seen += 1
        assert seen >= 10
        for path in (f"/v1/schedules/{schedule}", f"/v1/tasks/{task}", f"/v1/apikeys/{key.id}"):
            assert (await api.get(path)).status == 200
            assert (await api.call("DELETE", path, {})).status == 204
        assert (await api.get("/v1/queues/q")).json["paused"] is False
        assert (await api.call("DELETE", "/v1/queues/q", {})).status == 204


async def test_500_keeps_its_cause_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with open_api() as api:

        async def broken() -> None:
            raise RuntimeError("a secret of the house")

        api.app.add_url_rule("/broken", view_func=broken)  # type: ignore[arg-type]  # it never answers
        with caplog.at_level(logging.ERROR):
            reply = await api.get("/broken", headers={"X-Request-Id": "mine"})
        check_problem(reply, 500)
        assert "secret" not in reply.body.decode()
        assert "mine" in caplog.text
        assert "a secret of the house" in caplog.text


async def test_a_path_cannot_forge_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with open_api() as api:

        async def broken(rest: str) -> None:
            raise RuntimeError

        api.app.add_url_rule("/broken/<rest>", view_func=broken)  # type: ignore[arg-type]  # it never answers
        await api.get("/broken/x%0aERROR%20forged")
        [told] = [record.getMessage() for record in caplog.records if record.name == "aq.api.problems"]
        assert "forged" in told
        assert "\n" not in told


@pytest.mark.parametrize(
    ("error", "status"), [(OverloadedError("full", retry_after=3), 503), (ConflictError("no"), 409)]
)
async def test_errors_of_the_engine_carry_their_status(error: Exception, status: int) -> None:
    async with open_api() as api:

        async def refuse() -> None:
            raise error

        api.app.add_url_rule("/refuse", view_func=refuse)  # type: ignore[arg-type]  # it never answers
        reply = await api.get("/refuse")
        check_problem(reply, status)
        assert reply.headers.get("Retry-After") == ("3" if status == 503 else None)


async def test_503_to_writes_while_draining_and_reads_go_on() -> None:
    async with open_api() as api:
        task = await api.task()
        api.engine.begin_drain()
        writes: list[tuple[str, str, Any]] = [
            ("POST", "/v1/tasks", BODY),
            ("DELETE", f"/v1/tasks/{task['id']}", None),
            ("POST", "/v1/queues", {"name": "n"}),
            ("PATCH", "/v1/queues/q", {}),
            ("DELETE", "/v1/queues/q", None),
            ("POST", "/v1/queues/q/pause", None),
        ]
        for method, path, body in writes:
            reply = await api.call(method, path, body)
            check_problem(reply, 503)
            assert int(reply.headers["Retry-After"]) >= 1
        assert (await api.get(f"/v1/tasks/{task['id']}")).status == 200
        assert (await api.get("/healthz", key=None)).status == 200
        ready = await api.get("/readyz", key=None)
        assert ready.status == 503
        assert ready.json["problems"] == ["the service is shutting down"]


async def test_a_request_id_is_the_callers_or_a_new_one() -> None:
    async with open_api() as api:
        ids = set()
        for path in ("/v1/tasks", "/nothing", "/healthz"):
            ids.add((await api.get(path)).headers["X-Request-Id"])
            assert (await api.get(path, headers={"X-Request-Id": "my-1.2_3"})).headers[
                "X-Request-Id"
            ] == "my-1.2_3"
            other = (await api.get(path, headers={"X-Request-Id": "a b"})).headers["X-Request-Id"]
            ids.add(other)
        assert len(ids) == 6
        assert "a b" not in ids
