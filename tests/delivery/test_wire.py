"""One exchange with receivers of every kind, over real sockets."""

from __future__ import annotations

import contextlib
import random
import tracemalloc

import pytest
import trio

from aq.delivery.protocol import DeliveryError, WebhookResponse
from aq.delivery.streams import NothingSentError
from aq.delivery.wire import Connection, render
from aq.outcome import AttemptStatus, ErrorType

from .receiver import OK, Peer, Received, answering, hang, serve
from .support import open_transport, post

KIB = 1 << 10


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
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": "7",
    }
    assert receiver.requests == [Received("POST /hook/a%2Fb?c=d&e HTTP/1.1", headers, b'{"n":1}')]
    assert (response.status, response.body, response.header("content-length")) == (200, b"ok", "2")


async def test_a_mebibyte_is_sent_whole(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    body = random.Random(1).randbytes(KIB * KIB)
    async with open_transport() as transport:
        await transport.send(post(receiver.url, body))
    assert receiver.requests[0].body == body


async def test_timing_of_a_fresh_and_of_a_kept_connection(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    async with open_transport() as transport:
        fresh = (await transport.send(post(receiver.url))).timing
        kept = (await transport.send(post(receiver.url))).timing
    assert fresh is not None
    assert kept is not None
    assert (fresh.dns, fresh.tls) == (None, None)
    assert fresh.connect is not None
    assert (kept.dns, kept.connect, kept.tls) == (None, None, None)
    assert kept.ttfb is not None
    assert kept.total is not None


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
    response = await connection.exchange(post("http://example.com"), 0)
    assert stream.read - len(head) == 64 * KIB
    assert len(response.body) == 16 * KIB
    assert not connection.reusable


async def test_a_body_of_exactly_the_cap_is_whole() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n"
    connection = Connection(Scripted(head, b"x"))
    await connection.exchange(post("http://example.com"), 0)
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
    stream, request = Scripted(head, filler), post("http://example.com")
    tracemalloc.start()
    with contextlib.suppress(DeliveryError):  # some of them are errors; all of them must be cheap
        await Connection(stream).exchange(request, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stream.read <= (32 + 64 + 16) * KIB
    assert peak < 512 * KIB


async def test_an_early_no_to_a_body_that_is_not_read_is_heard(nursery: trio.Nursery) -> None:
    """The receiver answers 413 and closes while the rest of the body is on its way."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    stream = Scripted(refusal, b"", send_error=BrokenPipeError())
    connection = Connection(stream)
    assert (await connection.exchange(post("http://example.com"), 0)).status == 413
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


@pytest.mark.parametrize("value", ["a\nb: c", "a\rb", "a\r\n\r\nGET / HTTP/1.1", "é", "\ud800"])
def test_a_header_cannot_break_out_of_its_line(value: str) -> None:
    request = post("http://example.com")
    request.headers.append(("x-mine", value))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"line break|codec"):
        render(request)


async def test_a_connection_that_sent_nothing_says_so() -> None:
    connection = Connection(Scripted(b"", b"", send_error=NothingSentError()))
    with pytest.raises(NothingSentError):
        await connection.exchange(post("http://example.com"), 0)
    assert not connection.fit()
