"""The intake lane: nobody can tell it from Quart, but by the time that it takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aq.api.front import open_front
from aq.storage.changes import Insert
from aq.storage.memory import MemoryStorage
from tests.api.api_world import open_api
from tests.api.door import HEADERS, TASK, post
from tests.api.lane_world import World, connected, in_virtual_time, open_world, told
from tests.engine.storages import Faulty
from tests.engine.support import slow

BATCH = b"/v1/tasks/batch"
MANY = b'{"tasks": [%b, %b]}' % (TASK, TASK)
CHUNKS = (
    b"POST /v1/tasks HTTP/1.1\r\n"
    + HEADERS
    + b"X-Request-Id: mine-chunks\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\nT: 1\r\n\r\n" % (TASK[:5], len(TASK) - 5, TASK[5:])
)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine-health\r\n\r\n"
TYPE = b"Content-Type: application/json\r\n"


def task(lines: bytes = b"", body: bytes = TASK, path: bytes = b"/v1/tasks") -> bytes:
    return post(body, b"X-Request-Id: mine-1\r\n" + lines, path)


def of(**fields: Any) -> bytes:
    return json.dumps({**json.loads(TASK), **fields}).encode()


GOOD: dict[str, bytes] = {
    "a task": task(),
    "a batch": task(body=MANY, path=BATCH),
    "in chunks": CHUNKS,
    "body held back": task(b"Expect: 100-continue\r\n"),
    "another expectation": task(b"Expect: 200-ok\r\n"),
    "to be kept": task(b"Connection: Keep-Alive\r\n".lower().replace(b"connection", b"Connection")),
    "charset": task().replace(b"application/json", b"application/json; charset=utf-8"),
    "bearer": task().replace(b"X-API-Key: ", b"Authorization: Bearer "),
    "lower-case bearer": task().replace(b"X-API-Key: ", b"authorization: bearer  "),
    "another scheme beside it": task(b"Authorization: Basic x\r\n"),
    "idempotent": task(b"Idempotency-Key: k\r\n"),
    "idempotent by field": task(body=of(idempotency_key="k")),
    "idempotent, another": task(b"Idempotency-Key: k\r\n", of(priority=9)),
    "idempotent batch": task(b"Idempotency-Key: k\r\n", MANY, BATCH),
    "idempotent batch, wrong key": task("Idempotency-Key: ä\r\n".encode(), MANY, BATCH),
    "trace": task(b"traceparent: 00-%b-%b-01\r\n" % (b"a" * 32, b"b" * 16)),
    "trace with a state": task(b"traceparent: 00-%b-%b-01\r\ntracestate: a=1\r\n" % (b"a" * 32, b"b" * 16)),
    "no trace": task(b"traceparent: x\r\n"),
    "id of chance": task().replace(b"mine-1", b"no id"),
    "no id": task().replace(b"X-Request-Id: mine-1\r\n", b""),
    "a payload": task(body=of(payload={"a": [1.10, "é", {"b": None}]})),
    "absolute": task().replace(b"/v1/tasks", b"http://b/v1/tasks", 1),
    "odd bytes": task(b"X: \x80\xff\r\nCookie: a=b; c\r\n"),
    "an upgrade by name": task(b"Upgrade: websocket\r\n"),
    "a head that h11 reads": task(b"X:  y\t\r\n"),
    "odd host": task().replace(b"Host: a", b"Host: xn--a..:0".replace(b"..", b".")),
    "no host": task().replace(b"Host: a", b"Host:"),
    "limited": task(),
    "sandbox": task(),
    "mine": task(body=of(queue="mine")),
    "times that cannot be": task(body=of(delay=9, expires_in=1)),
}
OTHER: dict[str, bytes] = {
    "health": HEALTH,
    "a list": b"GET /v1/tasks HTTP/1.1\r\n" + HEADERS + b"X-Request-Id: mine-list\r\n\r\n",
    "a head": b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "a query": task().replace(b"/v1/tasks", b"/v1/tasks?a=b", 1),
    "an empty query": task().replace(b"/v1/tasks", b"/v1/tasks?", 1),
    "no such path": task(path=b"/v1/tasks/"),
    "no such method": task().replace(b"POST", b"PUT", 1),
    "no key": task().replace(b"X-API-Key", b"X-Other"),
    "wrong key": task().replace(b"kkk", b"kkj"),
    "two keys": task(b"X-API-Key: x\r\n"),
    "reader": task(),
    "not mine": task(),
    "not mine, batch": task(body=MANY, path=BATCH),
    "another type": task().replace(TYPE, b"Content-Type: text/plain\r\n"),
    "another kind of JSON": task().replace(TYPE, b"Content-Type: application/x+json\r\n"),
    "no type": task().replace(TYPE, b""),
    "two types": task(b"Content-Type: text/plain\r\n"),
    "encoded": task(b"Content-Encoding: gzip\r\n"),
    "encoded as it is": task(b"Content-Encoding: identity\r\n"),
    "no JSON": task(body=b"{"),
    "a byte order mark": task(body=b"\xef\xbb\xbf" + TASK),
    "a name twice": task(body=TASK[:-1] + b', "queue": "r"}'),
    "a name twice, deep": task(body=TASK[:-1] + b', "payload": {"a": [{"b": 1, "b": 2}]}}'),
    "NaN": task(body=TASK[:-1] + b', "payload": {"a": NaN}}'),
    "half a pair": task(body=TASK[:-1] + b', "payload": {"a": "\\ud800"}}'),
    "no UTF-8": task(body=TASK[:-1] + b', "payload": {"a": "\xff"}}'),
    "deep": task(body=TASK[:-1] + b', "payload": {"a": %b1%b}}' % (b"[" * 64, b"]" * 64)),
    "deeper": task(body=b"[" * 100_000),
    "a list as body": task(body=b"[]"),
    "no body": task(body=b""),
    "wrong fields": task(body=of(priority=0, bogus=1)),
    "wrong fields, batch": task(body=b'{"tasks": [{}], "x": 1}', path=BATCH),
    "two idempotency keys": task(b"Idempotency-Key: k\r\n", of(idempotency_key="l")),
    "idempotency keys": task(b"Idempotency-Key: k\r\nIdempotency-Key: l\r\n"),
    "an empty key": task(b"Idempotency-Key:\r\n"),
    "two request ids": task(b"X-Request-Id: mine-2\r\n"),
}
ENDS: dict[str, bytes] = {
    "the last": task(b"Connection: close\r\n"),
    "the last, otherwise spelt": task(b"connection:CLOSE\r\n"),
    "the last of others": HEALTH.replace(b"Host", b"Connection: close\r\nHost"),
    "1.0": task().replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "1.0, to be kept": task(b"Connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "two lengths": task(b"Content-Length: 3\r\n"),
    "too large": b"POST /v1/tasks HTTP/1.1\r\n" + HEADERS + b"Content-Length: 1048577\r\n\r\n",
    "no chunk": CHUNKS[:-50].replace(b"5;x", b"z"),
    "cut": task()[:-9],
}
CORPUS = {**GOOD, **OTHER, **ENDS}
KEY_OF = {
    "limited": "limited",
    "sandbox": "sandbox",
    "mine": "mine",
    "reader": "reader",
    "not mine": "mine",
    "not mine, batch": "mine",
}


def bytes_of(w: World, names: Sequence[str]) -> bytes:
    return b"".join(w.with_key(CORPUS[it], KEY_OF[it]) if it in KEY_OF else CORPUS[it] for it in names)


async def heard(names: Sequence[str], cuts: Sequence[int], *, lane: bool, draining: bool) -> tuple[Any, ...]:
    """What one client is told, and what is stored, when the requests come in pieces over one connection."""
    async with open_world(lane=lane) as w:
        if draining:
            w.api.engine.begin_drain()
        client = w.connect(["HEAD" if name == "a head" else "POST" for name in names])
        data, before = bytes_of(w, names), 0
        for cut in [*sorted({cut % len(data) for cut in cuts} - {0}), len(data)]:
            try:
                await client.send(data[before:cut])
            except trio.BrokenResourceError:
                break
            before = cut
        await client.stream.send_eof()
        await client.ended.wait()
        tasks = (await w.api.engine.list(limit=100)).tasks
        return [told(answer) for answer in client.answers.whole], client.answers.begun, tasks


def answers(names: Sequence[str], cuts: Sequence[int] = (), **how: bool) -> Any:
    return in_virtual_time(lambda: heard(names, cuts, **how))


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(CORPUS)) | st.sampled_from(sorted(GOOD)), min_size=1, max_size=7),
    cuts=st.lists(st.integers(0, 5_000), max_size=6),
    draining=st.integers(0, 9).map(lambda chance: chance == 0),
)
@example(["a task", "health", "in chunks", "a task"], [], False)
@example(["limited", "limited", "limited", "limited", "a task"], [], False)
@example(["limited", "wrong fields", "limited", "limited", "limited"], [], False)
@example(["a task", "body held back", "no JSON", "a batch"], [500, 510, 700], False)
@example(["a task", "a task", "a batch"], [], True)
def test_whatever_comes_however_it_is_cut_the_answers_are_those_of_quart(
    names: list[str], cuts: list[int], draining: bool
) -> None:
    with_lane = answers(names, cuts, draining=draining, lane=True)
    assert with_lane == answers(names, cuts, draining=draining, lane=False)


@pytest.mark.parametrize("draining", [False, True])
@pytest.mark.parametrize("some", [sorted(CORPUS)[start::6] for start in range(6)], ids=lambda some: some[0])
def test_each_alone_and_before_a_good_one_is_answered_as_by_quart(some: list[str], draining: bool) -> None:
    for name in some:
        for names in ([name], [name, "a task"]):
            assert answers(names, draining=draining, lane=True) == answers(
                names, draining=draining, lane=False
            )


async def test_what_is_good_is_answered_by_the_lane_and_all_else_by_quart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as w:
        everything = w.connect()
        names = [name for name in GOOD if name not in ("limited",)]
        await everything.send(bytes_of(w, names))
        assert len(everything.answers.whole) == len(names)
        assert w.seen == []
        for name in OTHER:
            client = w.connect(["HEAD" if name == "a head" else "POST"])
            await client.send(bytes_of(w, [name, "a task"]))
            assert len(client.answers.whole) == 2, name
            assert len(w.seen) == 2, name
            w.seen.clear()


async def test_a_request_in_hand_is_answered_at_whatever_step_the_end_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answered = 0
    for steps in range(40):
        async with open_world() as w:
            client = w.connect()
            await trio.testing.wait_all_tasks_blocked()
            w.nursery.start_soon(client.send_if_it_can, task() + task())
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            w.front.end_soon()
            await client.ended.wait()
            tasks = (await w.api.engine.list()).tasks
        assert [answer.status for answer in client.answers.whole] == [201] * len(tasks)
        assert not client.answers.begun
        answered += bool(tasks)
    assert 5 < answered < 40


async def test_the_end_waits_for_what_is_on_its_way_to_disk_and_not_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for seconds, statuses in ((1.5, [201]), (30, [])):
        storage = Faulty(MemoryStorage())
        async with open_api(storage=storage) as api:
            await api.engine.queues.create("q")
            storage.before_commit = slow(Insert, seconds)
            async with trio.open_nursery() as nursery:
                async with open_front(api.app, [], lane=api.lane) as front:
                    client = connected(nursery, front)
                    await client.send(task() + task())
                    began = trio.current_time()
                await client.ended.wait()
                assert [answer.status for answer in client.answers.whole] == statuses
            assert trio.current_time() - began < 2.1


async def test_a_client_that_has_closed_its_side_is_answered_however_long_it_takes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    storage = Faulty(MemoryStorage())
    async with open_world(storage=storage) as w:
        storage.before_commit = slow(Insert, 5)
        client = w.connect()
        await client.send(task())
        await client.stream.send_eof()
        await client.ended.wait()
        assert [answer.status for answer in client.answers.whole] == [201]
        assert w.front.held_bytes == 0


async def test_a_client_that_has_gone_gets_no_further_request_begun(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as w:
        client = w.connect()
        await client.stream.send_all(task() * 9)
        await client.stream.aclose()
        while w.front.connections:
            await trio.testing.wait_all_tasks_blocked()
        assert len((await w.api.engine.list()).tasks) <= 1
        assert w.front.held_bytes == 0


async def test_500_keeps_its_cause_to_the_log_and_the_connection_open(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Faulty(MemoryStorage())
    async with open_world(storage=storage) as w:

        async def broken(*args: object) -> None:
            raise RuntimeError("a secret")

        storage.claim = broken  # type: ignore[assignment,method-assign]
        client = w.connect()
        await client.send(task(b"Idempotency-Key: k\r\n") + task())
        first, second = client.answers.whole
        assert (first.status, second.status) == (500, 201)
        assert first.headers["content-type"] == "application/problem+json"
        assert "mine-1" in first.json["error"]
        assert "secret" not in first.body.decode()
        assert w.seen == []
    (record,) = caplog.records
    assert "mine-1" in record.getMessage()
    assert "a secret" in str(record.exc_info)


async def test_silence_and_idleness_are_ended_as_behind_it(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as w:
        begun, idle = w.connect(), w.connect()
        for client in (begun, idle):
            await client.send(task())
        await begun.send(task()[:-3])
        await begun.ended.wait()
        assert trio.current_time() == 10
        assert [answer.status for answer in begun.answers.whole] == [201, 408]
        await idle.ended.wait()
        assert trio.current_time() == 75
        assert len(idle.answers.whole) == 1
        assert w.seen == []
