"""Connections kept, dropped and opened: over real sockets."""

from __future__ import annotations

import random
import socket

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from aq.delivery.pool import Pool
from aq.delivery.protocol import DeliveryError
from aq.delivery.streams import NothingSentError, TcpStream
from aq.delivery.transport import HttpxTransport
from aq.delivery.wire import Connection, head_of
from aq.outcome import AttemptStatus, ErrorType
from aq.target import parse_target
from aq.task import Method

from .receiver import OK, Peer, answering, serve
from .support import Names, open_transport, post, request
from .test_wire import Scripted

BAD = b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"
FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"


async def test_a_connection_is_used_again_and_shared_by_destination(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK, BAD, b"HTTP/1.1 204 No\r\n\r\n", OK))
    async with open_transport() as transport:
        statuses = [(await transport.send(post(f"{receiver.url}/{n}"))).status for n in range(20)]
    assert statuses == [200, 500, 204] + [200] * 17
    assert receiver.connections == 1


async def test_as_many_connections_as_exchanges_at_once(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    async with open_transport() as transport:
        for _ in range(3):
            async with trio.open_nursery() as inner:
                for _ in range(5):
                    inner.start_soon(transport.send, post(receiver.url))
    assert len(receiver.requests) == 15
    assert receiver.connections <= 5


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + FORGED,
        OK + b"surplus",
        OK + b"HTTP/1.1 101 Up\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\nbody",
        b"HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ],
)
async def test_a_connection_is_kept_only_after_a_whole_answer_and_nothing_more(
    nursery: trio.Nursery, answer: bytes
) -> None:
    receiver = await serve(nursery, answering(answer))
    async with open_transport() as transport:
        for _ in range(2):
            response = await transport.send(post(receiver.url))
            assert response.body in (b"ok", b"")
    assert receiver.connections == 2


async def test_a_connection_that_the_receiver_closed_is_not_used(nursery: trio.Nursery) -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)

    receiver = await serve(nursery, once)
    async with open_transport() as transport:
        await transport.send(post(receiver.url))
        await receiver.ended()
        await transport.send(post(receiver.url))
    assert [receiver.connections, len(receiver.requests)] == [2, 2]


async def test_an_answer_that_came_before_the_question_is_not_taken(nursery: trio.Nursery) -> None:
    kept, forged = trio.Event(), trio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.say(OK)
            await kept.wait()
            await peer.say(FORGED)
            forged.set()

    receiver = await serve(nursery, script)
    async with open_transport() as transport:
        await transport.send(post(receiver.url))
        kept.set()
        await forged.wait()
        assert (await transport.send(post(receiver.url))).body == b"ok"
    assert receiver.connections == 2


async def test_nothing_sent_on_a_stale_connection_goes_out_on_a_fresh_one(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    stale = Scripted(b"", b"", send_error=NothingSentError())
    pool = Pool[Connection]()
    pool.put(parse_target(receiver.url).destination, Connection(stale), trio.current_time())
    async with open_transport(pool=pool) as transport:
        assert (await transport.send(post(receiver.url))).status == 200
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("send_error", "receive_error"),
    [(None, None), (BrokenPipeError(), None), (None, ConnectionResetError()), (None, NothingSentError())],
)
async def test_a_request_is_never_repeated_once_a_byte_may_have_gone(
    nursery: trio.Nursery, send_error: Exception | None, receive_error: Exception | None
) -> None:
    """A stream's own talk while it reads (TLS has some) may find that nothing of it went: the request did."""
    receiver = await serve(nursery, answering(OK))
    stale = Scripted(b"", b"", send_error=send_error, receive_error=receive_error)
    pool = Pool[Connection]()
    pool.put(parse_target(receiver.url).destination, Connection(stale), trio.current_time())
    async with open_transport(pool=pool) as transport:
        with pytest.raises(DeliveryError, match=r"without an answer|connection broke") as caught:
            await transport.send(post(receiver.url))
    assert caught.value.error_type is ErrorType.RESET
    assert receiver.connections == 0


async def test_the_first_write_that_fails_sent_nothing_a_later_one_did() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = TcpStream(ours)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            with pytest.raises(BrokenPipeError):
                await stream.send_all(b"x" * (1 << 22))

        await wait_all_tasks_blocked()
        theirs.close()
    with pytest.raises(NothingSentError):
        await stream.send_all(b"x")
    stream.close()


async def test_what_the_socket_does_not_take_at_once_follows_in_order() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    stream, reader = TcpStream(ours), trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    data, got = random.Random(1).randbytes(300_000), bytearray()
    async with reader, trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, data)
        while len(got) < len(data):
            got += await reader.receive_some()
    assert got == data
    stream.close()


async def test_idle_connections_are_closed_when_their_time_is_over(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    receiver = await serve(nursery, answering(OK))
    other = await serve(nursery, answering(OK))
    async with open_transport(patience=60) as transport:
        await transport.send(post(receiver.url))
        mock_clock.jump(30)
        await transport.send(post(other.url))
        mock_clock.rate = 1  # from here on real time, so that a fault runs into a deadline
        await receiver.ended()


async def test_what_comes_back_after_the_end_is_closed(nursery: trio.Nursery) -> None:
    go = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.say(OK)
        await peer.closed()

    receiver = await serve(nursery, script)
    async with open_transport() as transport:
        async with trio.open_nursery() as inner:
            inner.start_soon(transport.send, post(receiver.url))
            await receiver.asked.wait()
            await transport.aclose()
            go.set()
        await receiver.ended()


# -- connecting ---------------------------------------------------------------------------------------------
@pytest.fixture
def canary() -> socket.socket:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def untouched(canary: socket.socket) -> bool:
    """Whether nobody connected; on loopback a connection is there as soon as it was made."""
    with canary, pytest.raises(BlockingIOError):
        canary.accept()
    return True


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["192.0.2.1", "127.0.0.1"], ["127.0.0.1", "192.0.2.1"], ["::ffff:127.0.0.1"]],
)
async def test_one_internal_address_behind_a_name_and_nothing_is_sent(
    canary: socket.socket, addresses: list[str]
) -> None:
    url = f"http://receiver.example:{canary.getsockname()[1]}/"
    allow = ["192.0.2.0/24"]  # stands for the public, and leads nowhere should the guard fail
    async with open_transport(allow=allow, resolver=Names(receiver_example=[addresses])) as transport:
        with pytest.raises(DeliveryError, match="loopback") as caught:
            await transport.send(post(url))
    assert (caught.value.error_type, caught.value.attempt_status) == (
        ErrorType.BLOCKED,
        AttemptStatus.BLOCKED,
    )
    assert "127.0.0.1" not in str(caught.value)
    assert untouched(canary)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
async def test_a_literal_is_judged_without_a_look_up(canary: socket.socket, host: str) -> None:
    names = Names()
    async with open_transport(allow=(), resolver=names) as transport:
        with pytest.raises(DeliveryError) as caught:
            await transport.send(post(f"http://{host}:{canary.getsockname()[1]}/"))
    assert caught.value.error_type is ErrorType.BLOCKED
    assert names.asked == []
    assert untouched(canary)


async def test_a_name_that_changes_its_mind_is_pinned_then_judged_anew(nursery: trio.Nursery) -> None:
    """Public for the first look-up (127.0.0.0/8 stands for it), internal for the second."""
    receiver = await serve(nursery, answering(OK, OK + FORGED))
    names = Names(receiver_example=[["127.0.0.1"], ["10.0.0.1"]])
    url = f"http://receiver.example:{receiver.port}/"
    async with open_transport(resolver=names) as transport:
        for _ in range(2):
            assert (await transport.send(post(url))).status == 200
        assert names.asked == ["receiver.example"]
        with pytest.raises(DeliveryError, match="private"):
            await transport.send(post(url))
    assert names.asked == ["receiver.example"] * 2
    assert receiver.requests[0].headers["host"] == f"receiver.example:{receiver.port}"


@pytest.mark.parametrize("addresses", [["127.0.0.2", "127.0.0.1"], ["::1", "127.0.0.3", "127.0.0.1"]])
async def test_the_next_address_is_tried_when_one_refuses(
    nursery: trio.Nursery, addresses: list[str]
) -> None:
    receiver = await serve(nursery, answering(OK))
    async with open_transport(resolver=Names(receiver_example=[addresses])) as transport:
        assert (await transport.send(post(f"http://receiver.example:{receiver.port}/"))).status == 200


async def test_the_next_address_is_tried_when_one_stays_silent(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    receiver = await serve(nursery, answering(OK))
    with socket.socket() as silent, socket.socket() as first, socket.socket() as second:
        silent.bind(("127.0.0.2", receiver.port))
        silent.listen(0)
        for filler in (first, second):  # a full backlog drops what comes next without a word
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        names = Names(receiver_example=[["127.0.0.2", "127.0.0.1"]])
        async with open_transport(resolver=names) as transport, trio.open_nursery() as inner:
            inner.start_soon(transport.send, post(f"http://receiver.example:{receiver.port}/"))
            await wait_all_tasks_blocked()
            mock_clock.jump(5)
            mock_clock.rate = 1
    assert len(receiver.requests) == 1


async def test_nobody_listens(canary: socket.socket) -> None:
    port = canary.getsockname()[1]
    canary.close()
    async with open_transport() as transport:
        with pytest.raises(DeliveryError, match="Connection refused") as caught:
            await transport.send(post(f"http://127.0.0.1:{port}/"))
    assert (caught.value.error_type, caught.value.attempt_status) == (ErrorType.CONNECT, AttemptStatus.ERROR)


@pytest.mark.parametrize(
    ("host", "told"), [("nowhere.example", "not known"), ("empty.example", "no address")]
)
async def test_a_name_that_does_not_resolve(host: str, told: str) -> None:
    async with open_transport(resolver=Names(empty_example=[[]])) as transport:
        with pytest.raises(DeliveryError, match=told) as caught:
            await transport.send(post(f"http://{host}/"))
    assert caught.value.error_type is ErrorType.DNS


# -- over httpx ---------------------------------------------------------------------------------------------
async def test_an_httpx_transport_gets_the_same_request_and_gives_the_same_response() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(503, headers=[("Retry-After", "5"), ("X", "1"), ("X", "2")], content=b"busy")

    transport = HttpxTransport(httpx.MockTransport(handler))
    response = await transport.send(post("https://receiver.example/a?b=c", b'{"n":1}'))
    assert (response.status, response.body, response.header("retry-after")) == (503, b"busy", "5")
    assert [value for name, value in response.headers if name.lower() == "x"] == ["1", "2"]
    assert response.timing is not None
    assert response.timing.total is not None
    (request,) = seen
    assert (request.method, str(request.url)) == ("POST", "https://receiver.example/a?b=c")
    assert request.content == b'{"n":1}'
    assert dict(request.headers) == {
        "content-length": "7",
        "content-type": "application/json",
        "host": "receiver.example",
    }
    await transport.aclose()


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_an_httpx_request_has_the_same_framing(method: Method, body: bytes) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    asked = request(method, "http://h/", body, ("x-mine", ""), ("accept-encoding", "gzip"))
    await HttpxTransport(httpx.MockTransport(handler)).send(asked)
    fields = [field.split(": ", 1) for field in head_of(asked).decode().split("\r\n")[1:]]
    assert (seen[0].method, seen[0].content) == (method, body)
    assert sorted(map(list, seen[0].headers.multi_items())) == sorted(fields)


@pytest.mark.parametrize(("name", "value"), [("a", "b\r\nc: d"), ("a", "\0"), ("a b", ""), ("Host", "x")])
async def test_a_header_that_breaks_never_reaches_an_httpx_transport(name: str, value: str) -> None:
    transport = HttpxTransport(httpx.MockTransport(lambda _: pytest.fail("was asked")))
    with pytest.raises(ValueError, match="header"):
        await transport.send(request("POST", "http://receiver.example/", b"{}", (name, value)))


async def test_of_an_httpx_response_no_more_than_the_cap_is_read() -> None:
    given = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            nonlocal given
            while True:
                given += 1024
                yield b"x" * 1024

    transport = HttpxTransport(httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless())))
    response = await transport.send(post("https://receiver.example/"))
    assert response.body == b"x" * 16_384
    assert given == 65_536


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (httpx.ReadTimeout(""), ErrorType.TIMEOUT, "ReadTimeout"),
        (httpx.ConnectError("All connection attempts failed"), ErrorType.CONNECT, "attempts failed"),
        (_caused(httpx.ConnectError(""), socket.gaierror(-2, "not known")), ErrorType.DNS, "not known"),
        (httpx.ReadError(""), ErrorType.RESET, "ReadError"),
        (httpx.RemoteProtocolError("Server disconnected"), ErrorType.RESET, "disconnected"),
        (httpx.ProxyError("407"), ErrorType.CONNECT, "407"),
        (httpx.UnsupportedProtocol("ftp"), ErrorType.UNKNOWN, "ftp"),
    ],
)
async def test_httpx_errors_by_kind(error: Exception, kind: ErrorType, told: str) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(DeliveryError, match=told) as caught:
        await HttpxTransport(httpx.MockTransport(handler)).send(post("http://receiver.example/"))
    assert caught.value.error_type is kind
    timeout = kind is ErrorType.TIMEOUT
    assert caught.value.attempt_status is (AttemptStatus.TIMEOUT if timeout else AttemptStatus.ERROR)
