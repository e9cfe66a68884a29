"""The OpenAPI document against the app that it describes: its routes, its answers, its examples."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import schemathesis
import trio
from attrs import define, field, frozen

from aq.api.auth import OPEN_ENDPOINTS
from aq.api.openapi.examples import EXAMPLES
from aq.delivery.addresses import Guard
from aq.delivery.protocol import WebhookRequest, WebhookResponse
from aq.delivery.signing import parse_secrets
from aq.delivery.webhook import WebhookRunner
from aq.instants import SECOND
from aq.outcome import AttemptStatus, ErrorType, Outcome, Timing
from tests.api.api_world import SECRET, URL, Api, Reply, open_api
from tests.api.contract import Contract
from tests.delivery.support import LOOPBACK

STREAMS = {"events"}
"""Answers without an end: their text has tests of its own."""


@frozen
class Checked:
    """An API whose every reply is held to its document."""

    api: Api
    contract: Contract

    async def call(self, method: str, path: str, body: object = None, **more: Any) -> Reply:
        reply = await self.api.call(method, path, body, **more)
        self.contract.check(self.api.app, method, path, reply)
        return reply

    async def made(self, path: str, body: Mapping[str, Any] | None = None, **more: Any) -> Any:
        reply = await self.call("POST", path, body, **more)
        assert reply.status == 201, reply.body
        return reply.json


# -- the document -------------------------------------------------------------------------------------------
async def test_it_is_openapi_3_1() -> None:
    async with open_api() as api:
        contract = Contract.of(api.app)
        schemathesis.openapi.from_dict(dict(contract.document)).validate()


async def test_it_has_every_route_and_no_other() -> None:
    async with open_api(dev=True) as api:
        contract = Contract.of(api.app)
        described = {(path, method, it["operationId"]) for path, method, it in contract.routes()}
        there = {
            (re.sub(r"<(\w+)>", r"{\1}", rule.rule), method, rule.endpoint)
            for rule in api.app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            if rule.rule.startswith("/v1/") or rule.endpoint in described_endpoints(contract)
        }
        assert described == there
        assert {"healthz", "readyz", "openapi", "docs"} <= described_endpoints(contract)


def described_endpoints(contract: Contract) -> set[str]:
    return set(contract.operations())


async def test_what_needs_no_key_says_so() -> None:
    async with open_api() as api:
        for name, operation in Contract.of(api.app).operations().items():
            assert (operation["security"] == []) is (name in OPEN_ENDPOINTS), name


async def test_every_operation_has_words_for_people() -> None:
    async with open_api() as api:
        contract = Contract.of(api.app)
        for name, operation in contract.operations().items():
            assert operation["summary"], name
            assert operation["description"], name
            assert all(it["description"].strip() for it in operation["parameters"]), name


async def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    async with open_api() as api:
        contract = Contract.of(api.app)
        text = (await api.get("/openapi.json", key=None)).body.decode()
        named = set(re.findall(r'"#/components/(\w+/[\w-]+)"', text))
        there = {
            f"{kind}/{name}"
            for kind in ("schemas", "responses", "headers")
            for name in contract.document["components"][kind]
        }
        assert named == there


async def test_every_example_is_valid() -> None:
    async with open_api() as api:
        contract = Contract.of(api.app)
        for name, example in EXAMPLES.items():
            contract.validate({"$ref": f"#/components/schemas/{name}"}, example)
        for response in contract.document["components"]["responses"].values():
            (content,) = response["content"].values()
            contract.validate(content["schema"], content["example"])


async def test_the_examples_of_requests_are_accepted() -> None:
    async with open_api() as api:
        for path, name in (
            ("/v1/tasks", "NewTask"),
            ("/v1/tasks/batch", "NewTasks"),
            ("/v1/queues", "NewQueue"),
            ("/v1/schedules", "NewSchedule"),
            ("/v1/apikeys", "NewApiKey"),
        ):
            reply = await api.post(path, EXAMPLES[name])
            assert reply.status == 201, reply.body


# -- answers ------------------------------------------------------------------------------------------------
async def test_every_answer_is_as_described() -> None:
    """Each operation with each of its good answers."""
    async with open_api() as api:
        world = Checked(api, Contract.of(api.app))
        await _tasks(world)
        await _queues(world)
        await _schedules(world)
        await _keys(world)
        await _service(world)
        await api.engine.drain(0)
        assert (await world.call("GET", "/readyz", key=None)).status == 503
        assert (await world.call("POST", "/v1/tasks", {"queue": "q", "webhook_url": URL})).status == 503
        good = {
            (name, int(status))
            for name, operation in world.contract.operations().items()
            for status, response in operation["responses"].items()
            if "application/problem+json" not in world.contract.resolved(response).get("content", {})
        }
        assert {it for it in good if it[0] not in STREAMS} - world.contract.seen == set()


async def _tasks(world: Checked) -> None:
    api, call = world.api, world.call
    timing = Timing(dns=1, connect=2, tls=None, ttfb=4, total=5)
    failure = Outcome(
        status=AttemptStatus.FAILURE,
        error_type=ErrorType.HTTP_5XX,
        error="answered 500",
        response_code=500,
        response_body=b"no",
        timing=timing,
    )
    api.runner.outcomes[:] = [failure]
    api.runner.go.set()
    every: dict[str, Any] = {
        "queue": "q",
        "webhook_url": URL,
        "payload": {"a": [1]},
        "priority": 9,
        "max_retries": 0,
        "timeout": 3,
        "expires_in": 60,
        "method": "PUT",
        "headers": {"X-One": "1"},
        "ordering_key": "k",
        "tags": ["a", "b"],
        "callback_url": URL,
    }
    key = {"Idempotency-Key": "once"}
    failed = await world.made("/v1/tasks", every, headers=key)
    assert (await call("POST", "/v1/tasks", every, headers=key)).status == 200
    one = f"/v1/tasks/{failed['id']}"
    whole = (await call("GET", f"{one}?wait=5")).json
    assert (whole["status"], whole["callback"] is None) == ("failed", False)
    assert (await call("GET", f"{one}/explain")).json["reasons"][0]["reason"] == "ended"
    assert (await call("POST", f"{one}/retry", headers={"Idempotency-Key": "again"})).status == 200
    assert (await call("POST", f"{one}/retry", headers={"Idempotency-Key": "again"})).status == 200
    assert (await call("GET", f"{one}?wait=5")).json["status"] == "completed"
    assert (await call("POST", f"{one}/retry")).status == 409
    batch = {"tasks": [{"queue": "q", "webhook_url": URL, "delay": 60}, {"queue": "r", "webhook_url": URL}]}
    made = await world.made("/v1/tasks/batch", batch, headers={"Idempotency-Key": "all"})
    assert (await call("POST", "/v1/tasks/batch", batch, headers={"Idempotency-Key": "all"})).status == 200
    later = f"/v1/tasks/{made['tasks'][0]['id']}"
    explained = (await call("GET", f"{later}/explain")).json
    assert explained["reasons"][0]["until"]
    assert explained["retries"]
    for query in ("", "?limit=1", "?tag=a&error_type=http_5xx", "?status=pending&queue=q&offset=1"):
        page = (await call("GET", f"/v1/tasks{query}")).json
    cursor = (await call("GET", "/v1/tasks?limit=1")).json["pagination"]["next_cursor"]
    assert (await call("GET", f"/v1/tasks?limit=1&cursor={cursor}")).json["tasks"]
    assert page["pagination"]["offset"] == 1
    assert (await call("DELETE", later)).status == 204
    assert (await call("DELETE", later)).status == 404
    assert (await call("DELETE", one)).status == 409
    assert (await call("POST", "/v1/tasks", {})).status == 422
    assert (await call("POST", "/v1/tasks", raw=b"{")).status == 400
    assert (await call("POST", "/v1/tasks", raw=b"{}", headers={"Content-Type": "text/plain"})).status == 415
    assert (await call("POST", "/v1/tasks", raw=b" " * 2_000_000)).status == 413
    assert (await call("GET", "/v1/tasks", key=None)).status == 401


async def _queues(world: Checked) -> None:
    call = world.call
    every = {
        "name": "full",
        "rate_limit": {"per_second": 0.5},
        "signing_secrets": [SECRET],
        "destination_concurrency": 2,
        "retry_delay": 0.5,
    }
    key = {"Idempotency-Key": "queue"}
    made = await world.made("/v1/queues", every, headers=key)
    assert (made["rate_limit"], made["signing_secrets"]) == ({"per_second": 0.5, "burst": 1}, ["***"])
    assert (await call("POST", "/v1/queues", every, headers=key)).status == 200
    assert (await call("POST", "/v1/queues", every)).status == 409
    assert (await call("GET", "/v1/queues")).status == 200
    assert (await call("GET", "/v1/queues/full")).status == 200
    assert (await call("PATCH", "/v1/queues/full", {"concurrency": 2})).status == 200
    assert (await call("POST", "/v1/queues/full/pause")).status == 200
    assert (await call("POST", "/v1/queues/full/resume")).status == 200
    assert (await call("POST", "/v1/queues/full/purge", {"dry_run": True})).status == 200
    assert (await call("POST", "/v1/queues/full/purge")).status == 200
    assert (await call("POST", "/v1/queues/full/retry", {"tag": "a"}, headers=key)).status == 409
    assert (await call("POST", "/v1/queues/full/retry", headers={"Idempotency-Key": "r"})).status == 200
    assert (await call("POST", "/v1/queues/full/retry", headers={"Idempotency-Key": "r"})).status == 200
    assert (await call("DELETE", "/v1/queues/full")).status == 204
    assert (await call("GET", "/v1/queues/full")).status == 404


async def _schedules(world: Checked) -> None:
    call = world.call
    task = {"queue": "q", "webhook_url": URL, "payload": {"a": 1}, "headers": {"X-One": "1"}}
    asked, key = {"task": task, "cron": "30 9 * * *", "timezone": "Europe/Berlin"}, {"Idempotency-Key": "s"}
    made = await world.made("/v1/schedules", asked, headers=key)
    assert (await call("POST", "/v1/schedules", asked, headers=key)).status == 200
    one = f"/v1/schedules/{made['id']}"
    assert (await call("PATCH", one, {"every": 3600, "catch_up": "last"})).json["cron"] is None
    assert (await call("POST", f"{one}/run", headers={"Idempotency-Key": "run"})).status == 201
    assert (await call("POST", f"{one}/run", headers={"Idempotency-Key": "run"})).status == 200
    assert (await call("POST", f"{one}/pause")).json["next_runs"] == []
    assert (await call("POST", f"{one}/resume")).status == 200
    assert (await call("GET", one)).json["last_task_id"]
    assert (await call("GET", "/v1/schedules")).status == 200
    assert (await call("DELETE", one)).status == 204
    assert (await call("GET", one)).status == 404


async def _keys(world: Checked) -> None:
    call = world.call
    asked, key = {"name": "x", "queues": ["q"], "rate_limit_per_minute": 2}, {"Idempotency-Key": "k"}
    made = await world.made("/v1/apikeys", asked, headers=key)
    assert (await call("POST", "/v1/apikeys", asked, headers=key)).status == 200
    one = f"/v1/apikeys/{made['id']}"
    await world.made("/v1/apikeys", {"name": "y", "environment": "test", "scopes": ["admin"]})
    assert (await call("GET", "/v1/apikeys")).status == 200
    assert (await call("GET", "/v1/tasks", key=made["key"])).headers["X-RateLimit-Remaining"] == "1"
    assert (await call("GET", "/v1/apikeys", key=made["key"])).status == 403
    assert (await call("GET", "/v1/tasks", key=made["key"])).status == 429
    assert (await call("DELETE", one)).status == 204
    assert (await call("GET", one)).json["revoked_at"]
    assert (await call("GET", "/v1/apikeys/key_x")).status == 404


async def _service(world: Checked) -> None:
    stats = (await world.call("GET", "/v1/stats")).json
    assert any(point["lateness_ms"] for point in stats["series"])
    assert (await world.call("GET", "/v1/stats?queue=q&window=3600")).json["queue"] == "q"
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert (await world.call("GET", path, key=None)).status == 200
        assert (await world.call("GET", f"{path}?x=1", key=None)).status == 422


async def test_the_stream_of_events_is_one() -> None:
    async with open_api() as api:
        contract = Contract.of(api.app)
        reply = await api.call("HEAD", "/v1/events")
        (media,) = contract.operations()["events"]["responses"]["200"]["content"]
        assert reply.headers["Content-Type"] == media == "text/event-stream"


# -- webhooks -----------------------------------------------------------------------------------------------
@define
class Caught:
    """A transport that keeps what is sent."""

    requests: list[WebhookRequest] = field(factory=list)
    both: trio.Event = field(factory=trio.Event)
    """The delivery and its callback are there."""

    async def send(self, request: WebhookRequest) -> WebhookResponse:
        self.requests.append(request)
        if len(self.requests) == 2:
            self.both.set()
        return WebhookResponse(200, [], b"")

    async def aclose(self) -> None:
        """Nothing is open."""


async def test_what_is_sent_is_as_described() -> None:
    caught = Caught()
    runner = WebhookRunner(
        transport=caught,
        guard=Guard(LOOPBACK),
        secrets=parse_secrets(SECRET),
        now=lambda: 1_800_000_000 * SECOND,
    )
    async with open_api(runner=runner) as api:
        contract = Contract.of(api.app)
        await api.task(delay=0, callback_url=URL, payload={"a": 1})
        with trio.fail_after(5):
            await caught.both.wait()
        for request, name in zip(caught.requests, ("delivery", "callback"), strict=True):
            described = contract.document["webhooks"][name]["post"]
            ((_, content),) = described["requestBody"]["content"].items()
            contract.validate(content["schema"], json.loads(request.body))
            headers = {name for name, _ in request.headers}
            needed = {it["name"].lower() for it in described["parameters"] if it["required"]}
            known = {it["name"].lower() for it in described["parameters"]}
            assert needed <= headers <= known | {"content-type", "accept-encoding"}
