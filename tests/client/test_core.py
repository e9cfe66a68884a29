"""Which calls are sent again, when, and with what: by a script, so no second passes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from aq import client as aq_client
from aq.client.call import Reply
from aq.client.errors import APIError, ConnectionFailed, TimedOut
from tests.client.script import TASK, World, broken, reply

NEW: Any = {"queue": "q", "webhook_url": "http://127.0.0.1/"}
BUSY = reply(503, {"detail": "overloaded"})
KEY = {"id": "key_1", "name": "n", "environment": "live", "scopes": [], "created_at": TASK["created_at"]}


def late() -> TimedOut:
    return TimedOut("late")


@pytest.mark.parametrize(
    "failure",
    [broken(), broken(sent=False), late(), *(reply(status, None) for status in (408, 429, 502, 503, 504))],
)
def test_what_may_fare_better_is_sent_again_with_the_same_key(failure: Reply | APIError) -> None:
    world = World.of(failure, failure, reply(201))
    assert world.tasks().create(**NEW).id == "task_1"
    assert len(world.sent) == 3
    assert len(set(world.keys)) == 1
    assert world.keys[0] is not None
    assert world.sent[0] == world.sent[2]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 415, 422, 431, 500, 301])
def test_what_will_not_is_told_at_once(status: int) -> None:
    world = World.of(reply(status, {"detail": "no"}))
    with pytest.raises(APIError, match=r"^no \(HTTP \d+\)$") as caught:
        world.tasks().create(**NEW)
    assert caught.value.status == status
    assert world.slept == []


def test_after_two_retries_the_last_failure_is_told_with_the_key_to_repeat_it() -> None:
    world = World.of(broken(), BUSY, late())
    with pytest.raises(TimedOut) as caught:
        world.tasks().create(**NEW)
    assert caught.value.idempotency_key == world.keys[0]
    assert world.answers == []


def test_no_retries_where_none_are_wanted() -> None:
    world = World.of(BUSY)
    with pytest.raises(aq_client.Unavailable):
        world.tasks(max_retries=0).get("task_1")


def test_each_call_has_a_key_of_its_own_and_each_kind_that_creates_or_retries_has_one() -> None:
    world = World.of(*[reply()] * 4, reply(body={"tasks": [TASK]}), reply(body={"count": 3}))
    tasks = world.tasks()
    tasks.create(**NEW)
    tasks.create(**NEW)
    tasks.retry("task_1")
    tasks.create(**NEW, idempotency_key="mine")
    tasks.create_batch([NEW])
    world.queues().retry("q")
    keys = world.keys
    assert keys[3] is None  # it is in the body
    assert b'"idempotency_key":"mine"' in (world.sent[3].body or b"")
    others = [key for key in keys if key is not None]
    assert len(set(others)) == len(others) == 5


def test_waits_double_with_full_jitter() -> None:
    world = World.of(*[broken()] * 8)
    with pytest.raises(ConnectionFailed):
        world.tasks(max_retries=7, deadline=1_000).get("task_1")
    assert world.slept == [0.5, 1, 2, 4, 8, 8, 8]
    calm = World.of(*[broken()] * 3, chance=0.25)
    with pytest.raises(ConnectionFailed):
        calm.tasks().get("task_1")
    assert calm.slept == [0.125, 0.25]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(status: int) -> None:
    world = World.of(reply(status, None, retry_after="7"), reply(), chance=0.5)
    world.tasks().get("task_1")
    assert world.slept == [7.25]


def test_who_is_told_to_wait_for_longer_than_it_may_take_is_told_at_once() -> None:
    for wait, deadline in (("60", 60), ("121", 1_000)):
        world = World.of(reply(429, None, retry_after=wait))
        with pytest.raises(aq_client.RateLimited) as caught:
            world.tasks(deadline=deadline).get("task_1")
        assert caught.value.retry_after == float(wait)
        assert world.slept == []


def test_all_tries_together_end_by_the_deadline() -> None:
    world = World.of(*[late()] * 9, takes=10)
    with pytest.raises(TimedOut):
        world.tasks(max_retries=9, deadline=25).get("task_1")
    assert world.now <= 1_025 + 10
    assert world.timeouts == [10, 10, pytest.approx(25 - 20 - 0.5 - 1)]


def test_a_purge_that_may_have_been_done_is_not_sent_again() -> None:
    for failure, tries in ((broken(), 1), (late(), 1), (BUSY, 1), (broken(sent=False), 2)):
        world = World.of(failure, reply(body={"count": 3}))
        queues = world.queues()
        if tries == 1:
            with pytest.raises(APIError):
                queues.purge("q")
        else:
            assert queues.purge("q") == 3
        assert len(world.sent) == tries
    world = World.of(broken(), reply(body={"count": 3}))
    assert world.queues().purge("q", dry_run=True) == 3


def test_a_deletion_repeated_finds_nothing_left() -> None:
    """Of a queue that is a success. Of a task it is told: it may have run and be gone by retention."""
    gone = reply(404, {"detail": "there is no such thing"})
    world = World.of(broken(), gone)
    world.queues().delete("q")
    for first in (None, broken(sent=False)):
        world = World.of(*([] if first is None else [first]), gone)
        with pytest.raises(aq_client.NotFound):
            world.queues().delete("q")
    world = World.of(broken(), gone)
    with pytest.raises(aq_client.NotFound):
        world.tasks().delete("task_1")


def test_a_key_whose_text_was_lost_is_revoked_and_another_one_made() -> None:
    world = World.of(
        broken(), reply(200, KEY), reply(204, None), reply(201, {**KEY, "id": "key_2", "key": "aq_live_x"})
    )
    made = world.apikeys().create(name="n")
    assert (made.id, made.key) == ("key_2", "aq_live_x")
    assert [(it.method, it.url) for it in world.sent[1:]] == [
        ("POST", "http://aq/v1/apikeys"),
        ("DELETE", "http://aq/v1/apikeys/key_1"),
        ("POST", "http://aq/v1/apikeys"),
    ]
    assert world.keys[0] == world.keys[1] != world.keys[3]


def test_a_key_of_an_earlier_call_is_left_alone() -> None:
    world = World.of(reply(200, KEY))
    assert world.apikeys().create(name="n", idempotency_key="mine").key is None
    assert len(world.sent) == 1


def test_a_wait_goes_on_over_polls_and_lets_go_of_a_service_that_does_not_hold_them() -> None:
    ended = reply(body={**TASK, "status": "completed"})
    world = World.of(reply(), reply(), ended, takes=60)
    assert world.tasks().wait("task_1").status == "completed"
    assert [it.url for it in world.sent] == ["http://aq/v1/tasks/task_1?wait=60.0"] * 3
    assert world.timeouts == [70] * 3
    assert world.slept == []
    draining = World.of(*[reply()] * 3, ended)
    draining.tasks().wait("task_1")
    assert draining.slept == [0.5, 1, 2]


def test_a_wait_ends_in_time() -> None:
    world = World.of(reply(), reply(), takes=60)
    with pytest.raises(aq_client.NotEnded, match="after 90 s"):
        world.tasks().wait("task_1", timeout=90)
    assert [it.url.partition("=")[2] for it in world.sent] == ["60.0", "30"]


def test_answers_of_others_are_not_believed() -> None:
    bodies: tuple[object, ...] = (None, [], {"id": 3}, "<html>")
    for body in bodies:
        world = World.of(reply(200, body))
        with pytest.raises(aq_client.UnexpectedAnswer, match="is base_url right"):
            world.tasks().get("task_1")
    proxy = Reply(502, {}, b"<html>\n <b>Bad gateway</b>")
    with pytest.raises(aq_client.Unavailable, match=r"^Bad Gateway: <html> <b>Bad gateway</b> \("):
        World.of(proxy).tasks(max_retries=0).get("task_1")
    moved = reply(307, None, location="https://aq.example/")
    with pytest.raises(APIError, match=r"redirected to https://aq\.example/: use that as base_url"):
        World.of(moved).tasks().get("task_1")


def test_members_and_words_of_a_newer_service_are_no_error() -> None:
    newer = {**TASK, "status": "frozen", "colour": {"a": [1]}, "attempts": [], "callback": None}
    task = World.of(reply(body=newer)).tasks().get("task_1")
    assert (task.status, task.ended) == ("frozen", False)


def test_the_key_is_in_no_repr() -> None:
    world = World.of(reply())
    world.tasks().get("task_1")
    assert world.sent[0].headers["Authorization"] == "Bearer aq_live_secret"
    for thing in (world.core(), world.sent[0], world.tasks()):
        assert "secret" not in repr(thing)


def test_what_belongs_to_a_trace_is_passed_on() -> None:
    world = World.of(reply(), reply(body={"tasks": [TASK]}))
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    world.tasks().create(**NEW, traceparent=parent, tracestate="x=1")
    world.tasks().create_batch([NEW], traceparent=parent, tracestate="x=1")
    for request in world.sent:
        assert (request.headers["traceparent"], request.headers["tracestate"]) == (parent, "x=1")


def test_the_current_span_is_what_a_task_belongs_to_unless_another_is_given() -> None:
    world = World.of(*[reply()] * 3)
    span = NonRecordingSpan(SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1)))
    with use_span(span):
        world.tasks().create(**NEW)
        world.tasks().create(**NEW, traceparent="mine")
    world.tasks().create(**NEW)
    told = [request.headers.get("traceparent") for request in world.sent]
    assert told == [f"00-{0xA:032x}-{0xB:016x}-01", "mine", None]


@pytest.mark.parametrize("value", ["a\r\nx: y", "é", "a\0"])
def test_what_cannot_be_a_header_is_not_sent(value: str) -> None:
    world = World.of()
    with pytest.raises(ValueError, match="must be printable ASCII"):
        world.tasks().retry("task_1", idempotency_key=value)
    with pytest.raises(ValueError, match="must be printable ASCII"):
        world.tasks().create(**NEW, traceparent=value)
    assert world.sent == []


@pytest.mark.parametrize(
    "field",
    [
        {"payload": {"n": float("nan")}},
        {"payload": b"[1]"},
        {"payload": b"{"},
        {"payload": b'{"a":1}, "priority": 9'},
        {"payload": {"n": "\ud800"}},
        {"run_at": datetime(2026, 1, 31)},  # noqa: DTZ001 - the zone is missing on purpose
        {"priority": float("inf")},
    ],
)
def test_what_has_no_json_is_not_sent(field: Any) -> None:
    world = World.of()
    with pytest.raises(ValueError, match=r"."):
        world.tasks().create(**{**NEW, **field})
    assert world.sent == []


def test_a_retry_is_logged_without_what_was_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    world = World.of(BUSY, reply(body={"tasks": [], "pagination": {"limit": 1, "has_more": False}}))
    with caplog.at_level("INFO", "aq.client"):
        world.tasks().list(tag="ada@example.com").page()
    assert caplog.messages == ["GET /v1/tasks again in 0.5 s: overloaded (HTTP 503)"]
