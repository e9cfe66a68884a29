"""Tasks over HTTP: made, shown, listed, deleted."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
import trio.testing

from aq.api.app import create_app
from aq.opening import open_engine
from aq.outcome import AttemptStatus, ErrorType, Outcome, Timing
from aq.rules import rules_of
from aq.task import NewTask
from tests.api.api_world import KEY, SECRET, URL, Api, SteeredRunner, check_problem, open_api

pytestmark = pytest.mark.usefixtures("both_doors")

CREATED = {
    "id",
    "queue",
    "status",
    "priority",
    "delay",
    "created_at",
    "run_at",
    "due_at",
    "webhook_url",
    "max_retries",
    "timeout",
    "attempt",
    "started_at",
    "completed_at",
    "failed_at",
    "failure_reason",
    "error_type",
    "method",
    "headers",
    "expires_in",
    "expires_at",
    "ordering_key",
    "tags",
    "callback_url",
    "callback",
    "schedule_id",
}


def seconds_between(first: str, second: str) -> float:
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()


async def test_a_task_is_created() -> None:
    async with open_api() as api:
        body = {
            "queue": "emails",
            "webhook_url": URL,
            "delay": 300,
            "priority": 8,
            "max_retries": 2,
            "timeout": 9,
        }
        reply = await api.post("/v1/tasks", {**body, "payload": {"to": "ada"}})
        assert reply.status == 201
        assert reply.headers["Content-Type"] == "application/json"
        task = reply.json
        assert re.fullmatch("task_[0-9A-Z]{26}", task["id"])
        assert reply.headers["Location"] == f"/v1/tasks/{task['id']}"
        assert set(task) == CREATED
        assert {name: task[name] for name in body} == body
        assert task["status"] == "pending"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", task["created_at"])
        assert seconds_between(task["created_at"], task["run_at"]) == 300
        assert task["due_at"] == task["run_at"]


async def test_what_was_left_out_shows_with_its_default() -> None:
    async with open_api() as api:
        reply = await api.post("/v1/tasks", {"queue": "q", "webhook_url": URL})
        task = reply.json
        assert (task["priority"], task["delay"], task["max_retries"], task["timeout"]) == (5, 0, 3, 30)
        assert task["run_at"] == task["created_at"]
        whole = (await api.get(f"/v1/tasks/{task['id']}")).json
        assert whole["payload"] == {}


async def test_the_create_answer_says_pending_though_the_attempt_began_with_it() -> None:
    async with open_api() as api:
        task = await api.task(delay=0)
        assert (task["status"], task["attempt"], task["started_at"]) == ("pending", None, None)
        await api.runner.begun.wait()
        shown = (await api.get(f"/v1/tasks/{task['id']}")).json
        assert (shown["status"], shown["attempt"], shown["due_at"]) == ("active", 1, None)
        assert shown["started_at"] >= task["created_at"]
        assert shown["attempts"] == []


async def test_the_payload_keeps_its_bytes() -> None:
    async with open_api() as api:
        payload = (
            b'{ "n" : 1.10, "big":12345678901234567890123, "e":1E2,' + b'"s":"\\u00e9\\/\xc3\xa9", "":null }'
        )
        raw = b'{"payload": %b , "queue":"q", "webhook_url":"%b"}' % (payload, URL.encode())
        reply = await api.post("/v1/tasks", raw=raw)
        assert reply.status == 201
        await api.runner.begun.wait()
        assert api.runner.deliveries[0].payload == payload
        assert b'"payload":' + payload + b"," in (await api.get(f"/v1/tasks/{reply.json['id']}")).body


async def test_an_integer_of_5000_digits_is_json_too() -> None:
    async with open_api() as api:
        raw = b'{"queue":"q","webhook_url":"%b","payload":{"n":%b}}' % (URL.encode(), b"9" * 5000)
        assert (await api.post("/v1/tasks", raw=raw)).status == 201
        raw = b'{"queue":"q","webhook_url":"%b","priority":%b}' % (URL.encode(), b"9" * 5000)
        assert (await api.post("/v1/tasks", raw=raw)).fields == {"priority"}


async def test_a_payload_may_be_nested_64_deep_and_no_deeper() -> None:
    async with open_api() as api:
        for depth, status in ((64, 201), (65, 422)):
            payload = b'{"a":' * depth + b"1" + b"}" * depth
            raw = b'{"queue":"q","webhook_url":"%b","delay":9,"payload":%b}' % (URL.encode(), payload)
            reply = await api.post("/v1/tasks", raw=raw)
            assert reply.status == status
        assert reply.fields == {"payload"}


async def test_the_queues_values_show_where_the_task_has_none() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q", "max_retries": 1, "timeout": 7.5})
        one, own = await api.task(), await api.task(max_retries=0, timeout=3)
        assert (one["max_retries"], one["timeout"]) == (1, 7.5)
        assert (own["max_retries"], own["timeout"]) == (0, 3)
        await api.call("PATCH", "/v1/queues/q", {"max_retries": 2})
        assert (await api.get(f"/v1/tasks/{one['id']}")).json["max_retries"] == 2
        listed = (await api.get("/v1/tasks")).json["tasks"]
        assert [task["max_retries"] for task in listed] == [0, 2]


async def test_an_attempt_shows_all_that_is_known_of_it() -> None:
    failure = Outcome(
        status=AttemptStatus.FAILURE,
        error_type=ErrorType.HTTP_5XX,
        error="the receiver answered 500",
        response_code=500,
        response_body=b"caf\xc3\xa9 \xff",
        timing=Timing(dns=1, connect=2, tls=None, ttfb=3, total=6),
    )
    async with open_api(SteeredRunner([failure], go=_set())) as api:
        task = await api.task(delay=0, max_retries=0)
        await api.engine.wait(task["id"])
        shown = (await api.get(f"/v1/tasks/{task['id']}")).json
        assert (shown["status"], shown["failure_reason"], shown["attempt"]) == ("failed", "exhausted", None)
        assert shown["failed_at"] >= shown["created_at"]
        assert shown["completed_at"] is None
        (attempt,) = shown["attempts"]
        assert attempt.pop("executed_at") >= shown["created_at"]
        assert attempt.pop("duration_ms") >= 0
        assert attempt.pop("lateness_ms") >= 0
        assert attempt == {
            "number": 1,
            "status": "failure",
            "response_code": 500,
            "error_type": "http_5xx",
            "error": "the receiver answered 500",
            "timing_ms": {"dns": 1, "connect": 2, "tls": None, "ttfb": 3, "total": 6},
            "response_body": "café \N{REPLACEMENT CHARACTER}",
        }


async def test_a_completed_task_says_when() -> None:
    async with open_api(SteeredRunner(go=_set())) as api:
        task = await api.task(delay=0)
        await api.engine.wait(task["id"])
        shown = (await api.get(f"/v1/tasks/{task['id']}")).json
        assert (shown["status"], shown["due_at"], shown["failed_at"]) == ("completed", None, None)
        assert shown["completed_at"] >= task["created_at"]
        assert [attempt["status"] for attempt in shown["attempts"]] == ["success"]


async def test_a_deleted_task_is_gone() -> None:
    async with open_api() as api:
        task = await api.task()
        reply = await api.call("DELETE", f"/v1/tasks/{task['id']}")
        assert (reply.status, reply.body) == (204, b"")
        assert (await api.get(f"/v1/tasks/{task['id']}")).status == 404
        assert (await api.call("DELETE", f"/v1/tasks/{task['id']}")).status == 404


async def test_lists_come_in_pages_newest_first() -> None:
    async with open_api() as api:
        ids = [(await api.task())["id"] for _ in range(25)][::-1]
        page = (await api.get("/v1/tasks")).json
        assert [task["id"] for task in page["tasks"]] == ids[:20]
        assert set(page["tasks"][0]) == CREATED
        assert page["pagination"].pop("next_cursor")
        assert page["pagination"] == {"total": 25, "limit": 20, "offset": 0, "has_more": True}
        page = (await api.get("/v1/tasks?limit=7&offset=18")).json
        assert [task["id"] for task in page["tasks"]] == ids[18:]
        assert page["pagination"] == {
            "total": 25,
            "limit": 7,
            "offset": 18,
            "has_more": False,
            "next_cursor": None,
        }
        page = (await api.get("/v1/tasks?offset=10000")).json
        assert page["tasks"] == []
        assert not page["pagination"]["has_more"]


async def test_lists_are_filtered() -> None:
    async with open_api() as api:
        active = await api.task(queue="a", delay=0)
        await api.runner.begun.wait()
        pending, other = await api.task(queue="a"), await api.task(queue="b")

        async def ids(query: str) -> list[str]:
            page = (await api.get(f"/v1/tasks?{query}")).json
            assert page["pagination"]["total"] == len(page["tasks"])
            return [task["id"] for task in page["tasks"]]

        assert await ids("queue=a") == [pending["id"], active["id"]]
        assert await ids("status=pending") == [other["id"], pending["id"]]
        assert await ids("queue=a&status=active") == [active["id"]]
        assert await ids("queue=nobody") == []


async def test_nonsense_in_a_query_is_named() -> None:
    async with open_api() as api:
        for query, fields in {
            "limit=0": {"limit"},
            "limit=101": {"limit"},
            "limit=1.0": {"limit"},
            "limit=abc&offset=-1&status=bogus&queue=a%20b&x=1": {"limit", "offset", "status", "queue", "x"},
            "offset=10001": {"offset"},
            "limit=%D9%A1": {"limit"},
            "limit=": {"limit"},
            "limit=1&limit=2": {"limit"},
        }.items():
            assert (await api.get(f"/v1/tasks?{query}")).fields == fields, query


async def test_the_callers_trace_goes_with_the_task_if_it_is_well_formed() -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    good = f"00-{trace}-{span}-01"
    bad = [
        f"x{good}",
        good.upper(),
        f"ff-{trace}-{span}-01",
        f"00-{trace}-{'0' * 16}-01",
        f"00-{'0' * 32}-{span}-01",
        f"{good}-x",
    ]
    async with open_api(SteeredRunner(go=_set())) as api:
        body = {"queue": "q", "webhook_url": URL}
        for header in (good, *bad):
            await api.post("/v1/tasks", body, headers={"traceparent": header})
        page = await api.engine.list()
        assert [task.traceparent for task in page.tasks[::-1]] == [good, *(None for _ in bad)]


@pytest.mark.usefixtures("both_doors")
async def test_the_state_of_the_callers_trace_goes_with_it_as_far_as_it_is_well_formed() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    value = "v" * 256
    given = {
        "a=1": "a=1",
        "congo=t61rcWkgMzE,rojo@x=00f067aa0ba902b7": "congo=t61rcWkgMzE,rojo@x=00f067aa0ba902b7",
        "a=1 ,\tb=2,": "a=1,b=2",
        "a=!-~+ x": "a=!-~+ x",
        f"a={value},b=" + "v" * 251: f"a={value},b=" + "v" * 251,
        f"a={value},b=" + "v" * 252: None,
        f"a={value}v": None,
        ",".join(f"a{n}=1" for n in range(32)): ",".join(f"a{n}=1" for n in range(32)),
        ",".join(f"a{n}=1" for n in range(33)): None,
        "a=1,a=2": None,
        "A=1": None,
        "a": None,
        "a=": None,
        "a=b=c": None,
        "": None,
        ",": None,
    }
    async with open_api(SteeredRunner(go=_set())) as api:
        body = {"queue": "q", "webhook_url": URL}
        for text in given:
            await api.post("/v1/tasks", body, headers={"traceparent": parent, "tracestate": text})
        await api.post("/v1/tasks", body, headers={"tracestate": "a=1"})
        await api.post("/v1/tasks", body, headers={"traceparent": "x", "tracestate": "a=1"})
        tasks = (await api.engine.list(limit=100)).tasks[::-1]
        assert [task.options.tracestate for task in tasks] == [*given.values(), None, None]
        batch = {"tasks": [body, body]}
        made = await api.post("/v1/tasks/batch", batch, headers={"traceparent": parent, "tracestate": "a=1"})
        for task in made.json["tasks"]:
            assert (await api.engine.get(task["id"])).task.options.tracestate == "a=1"


# -- fields -------------------------------------------------------------------------------------------------
WAITING = "2026-06-01T12:00:00Z"
BOUNDS: list[tuple[str, list[Any], list[Any]]] = [
    ("queue", ["a", "A-Z.a_z-09", "x" * 128], ["", "a b", "x" * 129, "é", 5, None]),
    (
        "webhook_url",
        [URL, f"{URL}?a=b&c"],
        ["", "/x", "ftp://h/", "http://u:p@h/", "http://h/#f", "http://h é/"],
    ),
    ("webhook_url", ["http://h/" + "x" * 2_039], ["http://h/" + "x" * 2_040, None, 5]),
    ("payload", [{}, {"a": [1, {"b": None}]}], [[], "x", 5, None]),
    ("delay", [0, 31_536_000], [-1, 31_536_001, 0.5, "5", None]),
    ("priority", [1, 10], [0, 11, 5.0, "5", None]),
    ("max_retries", [0, 100, None], [-1, 101, 1.0]),
    ("timeout", [1, 900, None], [0, 901, "30"]),
    ("method", ["POST", "GET", "PUT", "PATCH", "DELETE"], ["post", "HEAD", "OPTIONS", "", None]),
    ("headers", [{}, {"x-a": "b"}, {f"x-{number}": "" for number in range(32)}], [[], "x", None]),
    ("headers", [], [{"x": 5}, {"a b": "c"}, {"a": "b\nc"}, {f"x-{number}": "" for number in range(33)}]),
    ("headers", [], [{name: "x"} for name in ("Host", "content-length", "Content-Type", "User-Agent")]),
    (
        "headers",
        [],
        [{name: "x"} for name in ("traceparent", "Tracestate", "Webhook-Id", "X-AsyncQueue-Signature", "TE")],
    ),
    ("expires_in", [31_536_000, None], [0, -1, 31_536_001, 1.5, "60"]),
    ("idempotency_key", ["k", "x" * 255, None], ["", "x" * 256, "é", 5]),
    ("callback_url", [URL, None], ["", "/x", "ftp://h/", 5]),
    ("ordering_key", ["customer 7", "é", "x" * 256, None], ["", "x" * 257, "a\nb", 5]),
    ("tags", [[], ["a", "b c"], [str(number) for number in range(16)]], [None, "a", [""], [5], ["x" * 65]]),
    ("tags", [], [[str(number) for number in range(17)]]),
    (
        "run_at",
        [WAITING, "2026-06-01T14:00:00.5+02:00", None],
        ["tomorrow", "2026-06-01", 5, "2100-01-01T00:00:00Z"],
    ),
]


@pytest.mark.parametrize(("field", "good", "bad"), BOUNDS)
async def test_each_field_has_its_bounds(field: str, good: list[Any], bad: list[Any]) -> None:
    body = {"queue": "q", "webhook_url": URL, **({} if field in ("run_at", "delay") else {"delay": 3600})}
    async with open_api(wall=lambda: NEW_YEAR) as api:
        await api.post("/v1/queues", {"name": "q", "paused": True})
        for value in good:
            assert (await api.post("/v1/tasks", {**body, field: value})).status == 201, value
        for value in bad:
            reply = await api.post("/v1/tasks", {**body, field: value})
            assert reply.fields == {field}, value
            check_problem(reply, 422)


NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def test_the_bounds_are_those_of_every_field() -> None:
    assert {field for field, _, _ in BOUNDS} == rules_of(NewTask).keys()


async def test_what_was_asked_for_is_shown_in_every_answer() -> None:
    async with open_api() as api:
        fields: dict[str, Any] = {
            "queue": "emails",
            "webhook_url": URL,
            "priority": 9,
            "delay": 60,
            "max_retries": 2,
            "timeout": 9,
            "method": "PUT",
            "expires_in": 600,
            "callback_url": "https://example.com/told",
            "ordering_key": "customer 7",
            "tags": ["mail", "de"],
        }
        made = (await api.post("/v1/tasks", fields)).json
        assert {name: made[name] for name in fields} == fields
        assert seconds_between(made["created_at"], made["expires_at"]) == 600
        shown = (await api.get(f"/v1/tasks/{made['id']}")).json
        assert {name: shown[name] for name in made} == made
        assert shown.keys() - made.keys() == {"payload", "attempts"}
        assert (await api.get("/v1/tasks")).json["tasks"] == [made]


async def test_values_of_headers_go_to_the_webhook_and_into_no_answer() -> None:
    async with open_api() as api:
        body = {"queue": "q", "webhook_url": URL, "headers": {"Authorization": "Bearer hidden", "X-Plan": ""}}
        made = await api.post("/v1/tasks", body, headers={"Idempotency-Key": "k"})
        assert made.json["headers"] == {"authorization": "***", "x-plan": "***"}
        await api.runner.begun.wait()
        assert api.runner.deliveries[0].headers == (("authorization", "Bearer hidden"), ("x-plan", ""))
        for reply in (
            made,
            await api.post("/v1/tasks", body, headers={"Idempotency-Key": "k"}),
            await api.get(made.headers["Location"]),
            await api.get("/v1/tasks"),
            await api.get(made.headers["Location"] + "/explain"),
            await api.post("/v1/tasks/batch", {"tasks": [body]}),
            await api.post("/v1/tasks", {**body, "headers": {"X-A": "hidden\n"}}),
            await api.post("/v1/tasks", {**body, "priority": 0}),
        ):
            assert b"hidden" not in reply.body, reply.body


async def test_run_at_is_an_instant_with_any_offset(mock_clock: trio.testing.MockClock) -> None:
    async with open_api(wall=lambda: NEW_YEAR) as api:
        task = await at(api, "2026-01-01T02:00:00+01:00")
        assert (task["run_at"], task["due_at"]) == ("2026-01-01T01:00:00.000000Z",) * 2
        assert (task["status"], task["delay"]) == ("pending", 0)


async def test_a_run_at_that_has_passed_is_due_now() -> None:
    async with open_api(wall=lambda: NEW_YEAR) as api:
        task = await at(api, "2020-01-01T00:00:00Z")
        assert (task["run_at"], task["due_at"]) == ("2020-01-01T00:00:00.000000Z", task["created_at"])
        await api.runner.begun.wait()


async def at(api: Api, run_at: str) -> dict[str, Any]:
    reply = await api.post("/v1/tasks", {"queue": "q", "webhook_url": URL, "run_at": run_at})
    assert reply.status == 201, reply.body
    return dict(reply.json)


@pytest.mark.parametrize("delay", [0, 1, 3600])
async def test_run_at_and_delay_are_not_given_together_not_even_0(delay: int) -> None:
    async with open_api(wall=lambda: NEW_YEAR) as api:
        body = {"queue": "q", "webhook_url": URL, "run_at": WAITING, "delay": delay}
        assert (await api.post("/v1/tasks", body)).fields == {"run_at"}
        assert (await api.post("/v1/tasks/batch", {"tasks": [body]})).fields == {"tasks[0].run_at"}
        both = {**body, "priority": 0}
        assert (await api.post("/v1/tasks", both)).fields == {"run_at", "priority"}
        assert (await api.post("/v1/tasks", {**body, "run_at": None})).status == 201


async def test_run_at_may_lie_a_year_ahead_and_no_further() -> None:
    async with open_api(wall=lambda: NEW_YEAR) as api:
        await at(api, "2026-12-31T23:59:59Z")
        body = {"queue": "q", "webhook_url": URL, "run_at": "2027-01-02T00:00:00Z"}
        assert (await api.post("/v1/tasks", body)).fields == {"run_at"}


async def test_a_task_that_expires_while_it_waits_has_failed_without_an_attempt(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q", "paused": True})
        task = await api.task(delay=0, expires_in=60)
        await api.engine.wait(task["id"])
        shown = (await api.get(f"/v1/tasks/{task['id']}")).json
        assert (shown["status"], shown["failure_reason"], shown["error_type"]) == (
            "failed",
            "expired",
            "expired",
        )
        assert shown["attempts"] == []
        assert 60 <= seconds_between(task["created_at"], shown["failed_at"]) < 61


async def test_422_for_a_task_that_would_expire_before_it_is_due() -> None:
    async with open_api() as api:
        for delay, expires_in, status in ((60, 60, 422), (60, 61, 201)):
            body = {"queue": "q", "webhook_url": URL, "delay": delay, "expires_in": expires_in}
            reply = await api.post("/v1/tasks", body)
            assert reply.status == status
            assert status == 201 or reply.fields == {"expires_in"}


@pytest.mark.parametrize("field", ["webhook_url", "callback_url"])
async def test_422_for_a_destination_that_no_webhook_may_go_to(field: str) -> None:
    async with open_engine(signing_secrets=SECRET) as engine:
        engine.keys.add_operator_key(KEY)
        api = Api(create_app(engine), engine, SteeredRunner())
        good = {"queue": "q", "webhook_url": "https://example.com/", "delay": 3600}
        assert (await api.post("/v1/tasks", good)).status == 201
        for host in ("127.0.0.1", "10.0.0.1", "[::1]", "169.254.169.254", "[::ffff:127.0.0.1]"):
            assert (await api.post("/v1/tasks", {**good, field: f"http://{host}/"})).fields == {field}, host
            batch = await api.post("/v1/tasks/batch", {"tasks": [good, {**good, field: f"http://{host}/"}]})
            assert batch.fields == {f"tasks[1].{field}"}
        assert (await api.get("/v1/tasks")).json["pagination"]["total"] == 1


async def test_ids_rise_with_creation() -> None:
    async with open_api() as api:
        ids = [(await api.task(queue=f"q{number % 3}"))["id"] for number in range(30)]
        assert ids == sorted(set(ids))


def _set() -> trio.Event:
    event = trio.Event()
    event.set()
    return event
