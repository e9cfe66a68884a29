"""``aq receive``: what arrives is shown and verified, and answered as asked."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from aq.cli.listener import MAX_BODY_BYTES, Arrived, listen
from aq.delivery.signing import Secret, sign
from tests.cli.cli_world import AQ, aq
from tests.server.serve_world import Process, client, running

SECRET = Secret(b"s" * 32)
BODY = b'{"task_id":"task_1","queue":"mail","payload":{"n":1},"attempt":2}'


@asynccontextmanager
async def receiving(folder: Path, *args: str, **env: str) -> AsyncIterator[tuple[Process, httpx.AsyncClient]]:
    command = (*AQ, "receive", "--port", "0")
    async with running(folder, *args, command=command, **env) as process:
        url = re.findall(r"ready on (http://\S+)", process.logged)[0]
        async with client(url, None) as sender:
            yield process, sender


def signed(body: bytes = BODY, secret: Secret = SECRET) -> dict[str, str]:
    return dict(sign([secret], "task_1", int(time.time()), body))


async def test_each_request_is_shown_with_its_verdict_and_its_answer(tmp_path: Path) -> None:
    async with receiving(tmp_path, "--secret", str(SECRET), "--status", "503", "--count", "3") as (
        process,
        sender,
    ):
        assert (await sender.post("/hook?a=1", content=BODY, headers=signed())).status_code == 503
        other = signed(secret=Secret(b"o" * 32))
        assert (await sender.post("/", content=BODY, headers=other)).status_code == 401
        assert (
            await sender.post("/", content=b"\x1b[31m\n", headers=signed(b"\x1b[31m\n"))
        ).status_code == 503
        assert await process.process.wait() == 0
    lines = re.sub(r"^\d\d:\d\d:\d\d ", "", process.said, flags=re.MULTILINE).splitlines()
    assert lines[0] == '--> POST /hook?a=1  mail  task_1  attempt 2  signature ok  {"n": 1}'
    assert lines[1] == "<-- 503"
    assert lines[2].startswith("--> POST /  mail  task_1  attempt 2  SIGNATURE WRONG: ")
    assert lines[3] == "<-- 401"
    assert lines[4] == "--> POST /  signature ok  \N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"


async def test_it_fails_as_often_as_it_was_told_and_then_recovers(tmp_path: Path) -> None:
    async with receiving(tmp_path, "--fail", "2", "--status", "204", "--count", "3") as (process, sender):
        assert "answering 2 × 500, then 204" in process.logged
        answers = [(await sender.post("/", content=BODY)).status_code for _ in range(3)]
        assert answers == [500, 500, 204]
        assert await process.process.wait() == 0


async def test_with_json_there_is_an_object_for_each(tmp_path: Path) -> None:
    async with receiving(tmp_path, "--json", "--count", "2", "--delay", "0.01") as (process, sender):
        assert (await sender.put("/", content=BODY)).status_code == 200
        assert (await sender.get("/x")).status_code == 200
        assert await process.process.wait() == 0
    first, second = map(json.loads, process.said.splitlines())
    assert (first["method"], first["body"], first["verified"]) == ("PUT", BODY.decode(), None)
    assert (second["target"], second["body"], second["status"]) == ("/x", "", 200)
    assert "verifying NOTHING" in process.logged


async def test_it_takes_the_secret_of_the_development_server_here(tmp_path: Path) -> None:
    async with running(tmp_path, "--dev") as server, receiving(tmp_path, "--count", "1") as (process, sender):
        task = {"queue": "q", "webhook_url": str(sender.base_url)}
        async with client(server.url, server.key) as api:
            assert (await api.post("/v1/tasks", json=task)).status_code == 201
        assert await process.process.wait() == 0
    assert "signature ok" in process.said


async def test_an_interrupt_ends_it_with_130_and_without_a_trace(tmp_path: Path) -> None:
    async with receiving(tmp_path) as (process, _):
        process.process.send_signal(signal.SIGINT)
        assert await process.process.wait() == 130
    assert "Traceback" not in process.logged


def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = aq("receive", "--port", str(taken.getsockname()[1]), "--json")
    assert (ended.code, ended.out) == (1, "")
    assert ended.error["hint"] == "Another program may use it: try --port 0."


async def test_what_is_no_request_or_too_long_ends_its_connection_only() -> None:
    seen: list[Arrived] = []

    async def keep(request: Arrived) -> int:
        seen.append(request)
        return 204

    async with trio.open_nursery() as nursery:
        url = await nursery.start(listen, "127.0.0.1", 0, keep)
        port = int(url.rpartition(":")[2].strip("/"))
        long = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
        for data in (b"\x16\x03\x01 no HTTP\r\n\r\n", b"POST / HT", long + b"x" * (MAX_BODY_BYTES + 1)):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(data)
                await stream.send_eof()
                while await stream.receive_some():
                    pass
        async with client(url, None) as sender:
            for _ in range(2):
                answer = await sender.post("/", content=b"x", headers={"Expect": "100-continue"})
                assert answer.status_code == 204
        nursery.cancel_scope.cancel()
    assert [request.body for request in seen] == [b"x", b"x"]
