"""The API behind its front door, over real sockets on loopback."""

from __future__ import annotations

import socket

import pytest
import trio

from aq.api import front
from tests.api.api_world import KEY
from tests.api.door import HEADERS, TASK, open_door, post

pytestmark = pytest.mark.usefixtures("both_doors")


async def test_a_task_comes_in_over_a_socket() -> None:
    async with open_door() as door:
        (answer,) = await door.exchange(post(TASK))
        assert answer.status == 201
        assert answer.headers["location"] == f"/v1/tasks/{answer.json['id']}"
        assert answer.headers["x-request-id"]
        assert answer.headers["date"]
        assert "server" not in answer.headers


async def test_requests_share_a_connection_pipelined_or_chunked() -> None:
    async with open_door() as door:
        chunked = (
            b"POST /v1/tasks HTTP/1.1\r\n" + HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(TASK), TASK)
        )
        answers = await door.exchange(post(TASK, b"") + chunked + post(b"{", b"") + post(TASK))
        assert [answer.status for answer in answers] == [201, 201, 400, 201]
        assert (await door.api.engine.list()).total == 3


async def test_a_204_says_nothing_of_a_body() -> None:
    async with open_door() as door:
        path = f"/v1/tasks/{(await door.api.task())['id']}".encode()
        delete = b"DELETE %b HTTP/1.1\r\n" % path + HEADERS + b"\r\n"
        gone, again = await door.exchange(
            delete + delete.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        assert (gone.status, again.status, gone.body) == (204, 404, b"")
        assert not gone.headers.keys() & {"content-type", "content-length", "transfer-encoding"}
        assert "x-request-id" in gone.headers


async def test_a_path_is_taken_as_it_is() -> None:
    async with open_door() as door:
        for path in (b"/v1//tasks", b"/v1/tasks/", b"/x/../v1/tasks"):
            (answer,) = await door.exchange(post(TASK, path=path))
            assert answer.status == 404, path
        (answer,) = await door.exchange(post(TASK, path=b"http://a/v1/tasks"))
        assert answer.status == 201


async def test_no_spelling_of_a_path_gets_around_the_key() -> None:
    async with open_door() as door:
        for path in (b"//v1/tasks", b"///v1/tasks", b"/%2fv1/tasks", b"/v1%2ftasks", b"http://a//v1/tasks"):
            request = post(TASK, path=path).replace(KEY.encode(), b"x")
            (answer,) = await door.exchange(request)
            assert answer.status in (401, 404), path
        assert (await door.api.engine.list()).total == 0


async def test_http_2_is_not_spoken() -> None:
    async with open_door() as door:
        upgrade = (
            b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        )
        request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + upgrade + b"\r\n"
        (answer,) = await door.exchange(request)
        assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_a_websocket_is_not_opened() -> None:
    async with open_door() as door:
        upgrade = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        request = b"GET /v1/tasks HTTP/1.1\r\n" + HEADERS + upgrade + b"Sec-WebSocket-Key: AAAA\r\n\r\n"
        (answer,) = await door.exchange(request)
        assert answer.status == 200


async def test_accepted_sockets_give_up_on_silent_peers() -> None:
    async with open_door() as door:
        stream = await door.send(b"GET")
        while not door.front.connections:
            await trio.lowlevel.checkpoint()
        (connection,) = door.front.open
        for option, value in ((socket.TCP_NODELAY, 1), (socket.TCP_USER_TIMEOUT, 15_000)):
            assert connection.socket.getsockopt(socket.IPPROTO_TCP, option) == value
        await stream.aclose()


@pytest.mark.parametrize("draining", [False, True])
@pytest.mark.parametrize("seconds", [front.LAST_SECONDS, 0])
async def test_who_knocked_before_the_end_is_answered(
    draining: bool, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On connections that nobody accepts before the end, also where there is no time to wait for anything."""
    monkeypatch.setattr(front, "LAST_SECONDS", seconds)
    async with open_door(deaf=True) as door:
        sockets = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(99)]
        for one in sockets:
            one.sendall(post(TASK))
        if draining:
            door.api.engine.begin_drain()
    for one in sockets:
        async with trio.SocketStream(trio.socket.from_stdlib_socket(one)) as stream:
            assert (await stream.receive_some())[:12] == (b"HTTP/1.1 503" if draining else b"HTTP/1.1 201")


async def test_the_port_is_free_once_the_door_is_closed() -> None:
    async with open_door() as door:
        stream = await door.send(post(TASK, b""))
        begun = await stream.receive_some()
        assert begun
    assert b"".join([begun, *[bytes(part) async for part in stream]]).endswith(b"}")
    with pytest.raises(OSError, match=r"refused|failed"):
        await trio.open_tcp_stream("127.0.0.1", door.port)
    await stream.aclose()
