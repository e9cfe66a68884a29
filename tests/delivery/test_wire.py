"""One exchange with receivers of every kind, over real sockets."""

from __future__ import annotations

import contextlib
import random
import string
import tracemalloc

import h11
import pytest
import trio
from hypothesis import given, reject
from hypothesis import strategies as st

from aq.delivery.protocol import DeliveryError, WebhookResponse
from aq.delivery.streams import NothingSentError
from aq.delivery.wire import Connection, render
from aq.errors import ValidationError
from aq.outcome import AttemptStatus, ErrorType
from aq.task import Headers, Method, NewTask

from .receiver import OK, Peer, Received, answering, hang, serve
from .support import open_transport, post, request

KIB = 1 << 10
OURS = ("host", "content-length", "transfer-encoding")


class Scripted:
    """A stream that gives as many bytes as it is asked for, of an answer without end."""

    def __init__(
        self,
        head: bytes,
        filler: bytes,
        *,
        send_error: Exception | None = None,
        receive_error: Exception | None = None,
    ) -> None:
        self._head, self._filler = head, filler
        self._send_error, self._receive_error = send_error, receive_error
        self.sent = b""
        self.read = 0

    async def send_all(self, data: bytes) -> None:
        if self._send_error is not None:
            raise self._send_error
        self.sent += data

    async def receive_some(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._receive_error is not None:
            raise self._receive_error
        piece = (self._head + self._filler * max_bytes)[:max_bytes]
        self._head = self._head[max_bytes:]
        self.read += len(piece)
        return piece

    def quiet(self) -> bool:
        return True

    def close(self) -> None:
        pass


async def exchange(nursery: trio.Nursery, answer: bytes) -> WebhookResponse:
    """One exchange with a receiver that says this and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)

    receiver = await serve(nursery, script)
    async with open_transport() as transport:
        return await transport.send(post(receiver.url))


async def refused(nursery: trio.Nursery, answer: bytes) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await exchange(nursery, answer)
    assert caught.value.attempt_status is AttemptStatus.ERROR
    return caught.value


async def test_the_request_as_it_goes_over_the_wire(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    async with open_transport() as transport:
        response = await transport.send(post(f"{receiver.url}/a%2Fb?c=d&e", b'{"n":1}'))
    headers = {
        "host": f"127.0.0.1:{receiver.port}",
        "content-length": "7",
        "content-type": "application/json",
    }
    assert receiver.requests == [Received("POST /hook/a%2Fb?c=d&e HTTP/1.1", headers, b'{"n":1}')]
    assert (response.status, response.body, response.header("content-length")) == (200, b"ok", "2")


async def test_a_mebibyte_is_sent_whole(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    body = random.Random(1).randbytes(KIB * KIB)
    async with open_transport() as transport:
        await transport.send(post(receiver.url, body))
    assert receiver.requests[0].body == body


async def test_a_dripped_answer_is_read_byte_by_byte(nursery: trio.Nursery) -> None:
    answer = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Oh\r\nA: b\r\nC:\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer += b"2\r\nno\r\n0\r\nTrailer: t\r\n\r\n"

    async def drip(peer: Peer) -> None:
        await peer.request()
        for position in range(len(answer)):
            await peer.say(answer[position : position + 1])
            await trio.testing.wait_all_tasks_blocked()
        await peer.closed()

    receiver = await serve(nursery, drip)
    async with open_transport() as transport:
        response = await transport.send(post(receiver.url))
    assert (response.status, response.body) == (500, b"no")
    assert response.headers == [("A", "b"), ("C", ""), ("Transfer-Encoding", "chunked")]


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", 200, b"to the end"),
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
        (b"HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n", 999, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nraw", 200, b"raw"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00",
            200,
            b"\x1f\x8b\x00",
        ),
        (
            b"HTTP/1.1 101 Upgrade\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            101,
            b"",
        ),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 8 + OK, 200, b"ok"),
    ],
)
async def test_answers_of_many_forms(nursery: trio.Nursery, answer: bytes, status: int, body: bytes) -> None:
    response = await exchange(nursery, answer)
    assert (response.status, response.body) == (status, body)
    assert response.header("link") is None  # an interim answer's headers are not the answer's


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsh", "in the middle"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x50", "not HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "not HTTP"),
    ],
)
async def test_no_answer_to_judge_is_a_reset(nursery: trio.Nursery, answer: bytes, told: str) -> None:
    error = await refused(nursery, answer)
    assert error.error_type is ErrorType.RESET
    assert told in str(error)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
async def test_a_tcp_reset_is_a_reset(nursery: trio.Nursery, said: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(said)
        await peer.reset()

    receiver = await serve(nursery, script)
    async with open_transport() as transport:
        with pytest.raises(DeliveryError, match=r"Connection reset|in the middle|without") as caught:
            await transport.send(post(receiver.url))
    assert caught.value.error_type is ErrorType.RESET
    assert receiver.connections == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40 * KIB, "32 KiB"),
        (b"HTTP/1.1 200 OK\r\n" + b"Some-Header: of some length\r\n" * 2 * KIB, "100 headers"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n", "100 headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, "interim"),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 10 * KIB, "interim"),
        (b"\r\n" * 20 * KIB, "32 KiB"),
    ],
)
async def test_a_head_over_its_caps_is_too_large(nursery: trio.Nursery, answer: bytes, told: str) -> None:
    error = await refused(nursery, answer)
    assert error.error_type is ErrorType.TOO_LARGE
    assert told in str(error)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    ("framing", "piece"),
    [
        (b"Content-Length: 1073741824", b"x" * KIB),
        (b"Transfer-Encoding: chunked", b"400\r\n" + b"x" * KIB + b"\r\n"),
        (b"Connection: close", b"x" * KIB),
    ],
)
async def test_a_body_without_end_is_left_and_the_status_decides(
    nursery: trio.Nursery, status: int, framing: bytes, piece: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 %d Oh\r\n%b\r\n\r\n" % (status, framing))
        while True:
            await peer.say(piece)

    receiver = await serve(nursery, script)
    async with open_transport() as transport:
        response = await transport.send(post(receiver.url))
        await receiver.ended()  # closed, not drained
    assert (response.status, response.body) == (status, b"x" * 16 * KIB)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"]
)
async def test_exactly_64_kib_of_body_are_read_at_most(head: bytes) -> None:
    stream = Scripted(head, b"x")
    connection = Connection(stream)
    response = await connection.exchange(post("http://example.com"))
    assert stream.read - len(head) == 64 * KIB
    assert len(response.body) == 16 * KIB
    assert not connection.reusable


async def test_a_body_of_exactly_the_cap_is_whole() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n"
    connection = Connection(Scripted(head, b"x"))
    await connection.exchange(post("http://example.com"))
    assert connection.reusable


@pytest.mark.parametrize(
    ("head", "filler"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: x\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;ext=", b"x"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
async def test_memory_and_reading_are_bounded_whatever_comes(head: bytes, filler: bytes) -> None:
    stream, asked = Scripted(head, filler), post("http://example.com")
    tracemalloc.start()
    with contextlib.suppress(DeliveryError):  # some of them are errors; all of them must be cheap
        await Connection(stream).exchange(asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stream.read <= (32 + 64 + 16) * KIB
    assert peak < 512 * KIB


async def test_an_early_no_to_a_body_that_is_not_read_is_heard(nursery: trio.Nursery) -> None:
    """The receiver answers 413 and closes while the rest of the body is on its way."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    stream = Scripted(refusal, b"", send_error=BrokenPipeError())
    connection = Connection(stream)
    assert (await connection.exchange(post("http://example.com"))).status == 413
    assert not connection.reusable


async def test_cancelling_lets_go_of_the_connection(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, hang)
    async with open_transport() as transport, trio.open_nursery() as inner:
        inner.start_soon(transport.send, post(receiver.url))
        await receiver.asked.wait()
        inner.cancel_scope.cancel()
    await receiver.ended()


async def test_a_body_that_drips_for_ever_ends_with_the_cancellation(nursery: trio.Nursery) -> None:
    dripped = trio.Event()

    async def drip(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
        for _ in range(3):
            await peer.say(b"x")
            await trio.testing.wait_all_tasks_blocked()
        dripped.set()
        await peer.closed()

    receiver = await serve(nursery, drip)
    async with open_transport() as transport, trio.open_nursery() as inner:
        inner.start_soon(transport.send, post(receiver.url))
        await dripped.wait()
        inner.cancel_scope.cancel()
    await receiver.ended()


# -- requests -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", b"", None),
        ("DELETE", b"", None),
        ("POST", b"", "0"),
        ("PUT", b"", "0"),
        ("PATCH", b"", "0"),
        *((method, b"{}", "2") for method in Method),
    ],
)
def test_a_length_where_there_is_a_body_or_could_be_one(method: str, body: bytes, length: str | None) -> None:
    head, _, rest = render(request(method, "http://example.com", body)).partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    assert (line, rest) == (f"{method} / HTTP/1.1", body)
    assert headers.get("content-length") == length
    assert headers.keys() <= {"host", "content-length"}


@pytest.mark.parametrize("method", Method)
async def test_answers_to_every_method_are_read_alike(nursery: trio.Nursery, method: Method) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    receiver = await serve(nursery, answering(OK, chunked, b"HTTP/1.1 204 No\r\n\r\n", OK))
    async with open_transport() as transport:
        responses = [await transport.send(request(method, receiver.url, b"")) for _ in range(4)]
    assert [response.status for response in responses] == [200, 200, 204, 200]
    assert [response.body for response in responses] == [b"ok", b"ok", b"", b"ok"]
    assert receiver.connections == 1
    assert {received.line for received in receiver.requests} == {f"{method} /hook HTTP/1.1"}


BREAKING = ["a\nb: c", "a\rb", "a\r\n\r\nGET / HTTP/1.1", "a\0b", "\n", "é", "\ud800"]


@pytest.mark.parametrize("value", BREAKING)
def test_a_header_cannot_break_out_of_its_line(value: str) -> None:
    for method in ("GET", "POST"):
        with pytest.raises(ValueError, match=r"line break|codec"):
            render(request(method, "http://example.com", b"", ("x-mine", value)))


@pytest.mark.parametrize(
    "name",
    [*BREAKING, "", " ", "a b", "a:", ":", "a: b", "a\t", "content-length ", "x\u212a"]
    + [form for name in OURS for form in (name, name.upper(), name.title())],
)
def test_a_header_cannot_have_a_name_that_is_none_or_that_frames_the_request(name: str) -> None:
    with pytest.raises(ValueError, match="is not a header that a request may set"):
        render(request("POST", "http://example.com", b"{}", (name, "1")))


@pytest.mark.parametrize(("name", "value"), [("x-mine", "a\r\nb: c"), ("Content-Length", "5")])
async def test_of_a_request_that_breaks_nothing_is_sent(name: str, value: str) -> None:
    stream = Scripted(OK, b"")
    connection = Connection(stream)
    with pytest.raises(ValueError, match="header"):
        await connection.exchange(request("POST", "http://example.com", b"{}", (name, value)))
    assert stream.sent == b""
    assert not connection.fit()


def parsed(data: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """What another implementation of HTTP makes of one request; nothing may be left over."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    asked = server.next_event()
    assert isinstance(asked, h11.Request)
    body = b""
    while isinstance(event := server.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert server.trailing_data == (b"", False)
    return [(name.decode(), value.decode()) for name, value in asked.headers], body


def check_round_trip(method: Method, headers: Headers, body: bytes) -> None:
    ours = [("host", "example.com")]
    if body or method not in (Method.GET, Method.DELETE):
        ours.append(("content-length", str(len(body))))
    data = render(request(method, "http://example.com", body, *headers))
    assert parsed(data) == (ours + list(headers), body)


tokens = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=40)
printable = st.text(string.ascii_letters + string.punctuation + " \t", max_size=60).map(
    lambda it: it.strip(" \t")
)
anything = st.text(string.printable + "\0é\x7f\x80\u2028\ud800", max_size=12)


different = st.lists(st.tuples(tokens, printable), unique_by=lambda header: header[0].lower(), max_size=32)


@given(st.sampled_from(Method), different.map(dict), st.binary(max_size=40))
def test_the_headers_of_a_task_arrive_as_they_were_given(
    method: Method, headers: dict[str, str], body: bytes
) -> None:
    try:
        accepted = NewTask("q", "http://example.com", headers=headers).headers
    except ValidationError:
        reject()
    assert accepted == tuple((name.lower(), value) for name, value in headers.items())
    check_round_trip(method, accepted, body)


@given(st.sampled_from(Method), st.dictionaries(tokens | anything, printable | anything, max_size=3))
def test_whatever_headers_a_task_is_given_they_cannot_break_the_request(
    method: Method, headers: dict[str, str]
) -> None:
    with contextlib.suppress(ValidationError):
        check_round_trip(method, NewTask("q", "http://example.com", headers=headers).headers, b"{}")


@given(st.sampled_from(Method), tokens | anything, printable | anything)
def test_whatever_the_wire_lets_through_is_one_header(method: Method, name: str, value: str) -> None:
    """Without the rule for tasks: a value may then be odd, but no byte of it is read as anything else."""
    with contextlib.suppress(ValueError):
        data = render(request(method, "http://example.com", b"{}", (name, value)))
        head = data.removesuffix(b"\r\n\r\n{}")
        assert head.split(b"\r\n")[3:] == [f"{name}: {value}".encode()]
        assert not set(b"\r\n\0") & set(head.replace(b"\r\n", b""))


async def test_a_connection_that_sent_nothing_says_so() -> None:
    connection = Connection(Scripted(b"", b"", send_error=NothingSentError()))
    with pytest.raises(NothingSentError):
        await connection.exchange(post("http://example.com"))
    assert not connection.fit()
