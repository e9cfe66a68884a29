"""The API behind its front door, over real sockets on loopback."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import pytest
import trio
from attrs import frozen

from aq.api.front import Front, open_front, open_listeners
from tests.api.api_world import KEY, URL, Api, open_api

HEADERS = f"Host: a\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n".encode()
TASK = json.dumps({"queue": "q", "webhook_url": URL, "delay": 3600}).encode()


@frozen
class Door:
    api: Api
    front: Front
    port: int

    async def send(self, data: bytes) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(data)
        return stream

    async def exchange(self, data: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
        """Everything that comes back until the server closes."""
        with trio.fail_after(20):
            async with await self.send(data) as stream:
                received = b"".join([bytes(part) async for part in stream])
        answers = []
        while received:
            parser = h11.Connection(h11.CLIENT)
            parser.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
            parser.send(h11.EndOfMessage())
            parser.receive_data(received)
            response = parser.next_event()
            assert isinstance(response, h11.Response)
            body = b""
            while isinstance(event := parser.next_event(), h11.Data):
                body += event.data
            assert isinstance(event, h11.EndOfMessage)
            answers.append((response.status_code, dict(response.headers), body))
            received = parser.trailing_data[0]
        return answers


@asynccontextmanager
async def open_door() -> AsyncIterator[Door]:
    listeners = await open_listeners("127.0.0.1", 0)
    port = listeners[0].socket.getsockname()[1]
    async with open_api() as api, open_front(api.app, listeners) as front:
        yield Door(api, front, port)


def post(body: bytes, headers: bytes = b"Connection: close\r\n", path: bytes = b"/v1/tasks") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + HEADERS + length + headers + b"\r\n" + body


async def test_a_task_comes_in_over_a_socket() -> None:
    async with open_door() as door:
        ((status, headers, body),) = await door.exchange(post(TASK))
        assert status == 201
        assert headers[b"location"].decode() == f"/v1/tasks/{json.loads(body)['id']}"
        assert headers[b"x-request-id"]
        assert headers[b"date"]
        assert b"server" not in headers


async def test_requests_share_a_connection_pipelined_or_chunked() -> None:
    async with open_door() as door:
        chunked = (
            b"POST /v1/tasks HTTP/1.1\r\n" + HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(TASK), TASK)
        )
        answers = await door.exchange(post(TASK, b"") + chunked + post(b"{", b"") + post(TASK))
        assert [status for status, _, _ in answers] == [201, 201, 400, 201]
        assert (await door.api.engine.list()).total == 3


REFUSED = {
    "two lengths": (post(TASK, b"Content-Length: 3\r\n"), 400),
    "length and chunks": (post(b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n"), 400),
    "folded": (post(TASK, b"X-A: b\r\n c\r\n"), 400),
    "bare LF": (post(TASK, b"X-A: b\n"), 400),
    "large head": (post(TASK, b"X: " + b"a" * 17_000 + b"\r\n"), 431),
    "many headers": (post(TASK, b"X: a\r\n" * 101), 431),
    "large body": (post(b" " * (1 << 21) + TASK), 413),
    "large body, not sent": (
        post(b"", b"Content-Length: 1048577\r\n").replace(b"Content-Length: 0\r\n", b""),
        413,
    ),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_refused_creates_nothing(data: bytes, status: int) -> None:
    async with open_door() as door:
        smuggled = post(TASK)
        ((answered, headers, body),) = await door.exchange(data + smuggled)
        assert answered == status
        assert headers[b"content-type"] == b"application/problem+json"
        assert headers[b"connection"] == b"close"
        assert headers[b"x-request-id"]
        assert json.loads(body)["status"] == status
        assert (await door.api.engine.list()).total == 0


async def test_a_path_is_taken_as_it_is() -> None:
    async with open_door() as door:
        for path in (b"/v1//tasks", b"/v1/tasks/", b"/x/../v1/tasks"):
            ((status, _, _),) = await door.exchange(post(TASK, path=path))
            assert status == 404, path
        ((status, _, _),) = await door.exchange(post(TASK, path=b"http://a/v1/tasks"))
        assert status == 201


async def test_no_spelling_of_a_path_gets_around_the_key() -> None:
    async with open_door() as door:
        for path in (b"//v1/tasks", b"///v1/tasks", b"/%2fv1/tasks", b"/v1%2ftasks", b"http://a//v1/tasks"):
            request = post(TASK, path=path).replace(KEY.encode(), b"x")
            ((status, _, _),) = await door.exchange(request)
            assert status in (401, 404), path
        assert (await door.api.engine.list()).total == 0


async def test_http_2_is_not_spoken() -> None:
    async with open_door() as door:
        upgrade = (
            b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        )
        request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + upgrade + b"\r\n"
        ((status, _, body),) = await door.exchange(request)
        assert (status, json.loads(body)) == (200, {"status": "ok"})


async def test_a_websocket_is_not_opened() -> None:
    async with open_door() as door:
        upgrade = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        request = b"GET /v1/tasks HTTP/1.1\r\n" + HEADERS + upgrade + b"Sec-WebSocket-Key: AAAA\r\n\r\n"
        ((status, _, _),) = await door.exchange(request)
        assert status == 200


async def test_accepted_sockets_give_up_on_silent_peers() -> None:
    async with open_door() as door:
        stream = await door.send(b"GET")
        while not door.front.connections:
            await trio.lowlevel.checkpoint()
        (connection,) = door.front.open
        assert isinstance(connection.stream, trio.SocketStream)
        for option, value in ((socket.TCP_NODELAY, 1), (socket.TCP_USER_TIMEOUT, 15_000)):
            assert connection.stream.getsockopt(socket.IPPROTO_TCP, option) == value
        await stream.aclose()


async def test_the_port_is_free_once_the_door_is_closed() -> None:
    async with open_door() as door:
        stream = await door.send(post(TASK, b""))
        assert await stream.receive_some()
    rest = b"".join([bytes(part) async for part in stream])
    assert rest.endswith(b"}")
    with pytest.raises(OSError, match=r"refused|failed"):
        await trio.open_tcp_stream("127.0.0.1", door.port)
    await stream.aclose()
