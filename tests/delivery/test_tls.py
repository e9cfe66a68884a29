"""HTTPS with a certificate authority of the test's own."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio
import trustme

from aq.delivery.connect import default_ssl_context
from aq.delivery.protocol import DeliveryError
from aq.delivery.streams import TcpStream, TlsStream
from aq.outcome import ErrorType

from .receiver import OK, Peer, answering, hang, serve
from .support import Names, open_transport, post

HOST = "receiver.example"
NAMES = {"receiver_example": [["127.0.0.1"]]}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def good(authority: trustme.CA) -> ssl.SSLContext:
    return server_side(authority, HOST)


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = default_ssl_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_verified_connection_is_kept(
    nursery: trio.Nursery, good: ssl.SSLContext, trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    good.minimum_version = good.maximum_version = version
    receiver = await serve(nursery, answering(OK), good)
    url = f"https://{HOST}:{receiver.port}/"
    async with open_transport(resolver=Names(**NAMES), ssl_context=trusting) as transport:
        first = await transport.send(post(url, b"x" * 300_000))
        assert (first.status, first.body) == (200, b"ok")
        assert first.timing is not None
        assert first.timing.tls is not None
        assert first.timing.dns is not None
        for _ in range(3):
            await transport.send(post(url))
    assert receiver.connections == 1
    assert receiver.requests[0].body == b"x" * 300_000


async def test_an_address_in_the_url_is_verified_as_an_address(
    nursery: trio.Nursery, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    receiver = await serve(nursery, answering(OK), server_side(authority, "127.0.0.1"))
    async with open_transport(ssl_context=trusting) as transport:
        assert (await transport.send(post(f"https://127.0.0.1:{receiver.port}/"))).status == 200


async def failing(
    nursery: trio.Nursery, server: ssl.SSLContext | None, client: ssl.SSLContext
) -> DeliveryError:
    receiver = await serve(nursery, answering(OK), server)
    async with open_transport(resolver=Names(**NAMES), ssl_context=client) as transport:
        with pytest.raises(DeliveryError) as caught:
            await transport.send(post(f"https://{HOST}:{receiver.port}/"))
    assert caught.value.error_type is ErrorType.TLS
    assert receiver.requests == []
    return caught.value


async def test_an_unknown_authority_is_refused(nursery: trio.Nursery, good: ssl.SSLContext) -> None:
    error = await failing(nursery, good, default_ssl_context())
    assert "the certificate is not trusted: unable to get local issuer certificate" in str(error)


async def test_a_certificate_for_another_name_is_refused(
    nursery: trio.Nursery, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    error = await failing(nursery, server_side(authority, "other.example"), trusting)
    assert "Hostname mismatch" in str(error)
    assert HOST in str(error)


@pytest.mark.parametrize("host", ["a..example", "x" * 64 + ".example"])
async def test_a_name_that_no_certificate_can_hold(
    nursery: trio.Nursery, good: ssl.SSLContext, trusting: ssl.SSLContext, host: str
) -> None:
    receiver = await serve(nursery, answering(OK), good)
    names = Names(**{host: [["127.0.0.1"]]})
    async with open_transport(resolver=names, ssl_context=trusting) as transport:
        with pytest.raises(DeliveryError, match="no certificate") as caught:
            await transport.send(post(f"https://{host}:{receiver.port}/"))
    assert caught.value.error_type is ErrorType.TLS


async def test_a_receiver_without_tls(nursery: trio.Nursery, trusting: ssl.SSLContext) -> None:
    async def plain(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.closed()

    receiver = await serve(nursery, plain)
    async with open_transport(resolver=Names(**NAMES), ssl_context=trusting) as transport:
        with pytest.raises(DeliveryError, match="wrong version number") as caught:
            await transport.send(post(f"https://{HOST}:{receiver.port}/"))
    assert caught.value.error_type is ErrorType.TLS


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_that_ends_in_the_handshake(
    nursery: trio.Nursery, trusting: ssl.SSLContext, how: str
) -> None:
    async def script(peer: Peer) -> None:
        await (peer.close() if how == "close" else peer.reset())

    receiver = await serve(nursery, script)
    async with open_transport(resolver=Names(**NAMES), ssl_context=trusting) as transport:
        with pytest.raises(DeliveryError, match=r"closed the connection|the connection broke") as caught:
            await transport.send(post(f"https://{HOST}:{receiver.port}/"))
    assert caught.value.error_type is ErrorType.TLS


async def test_a_handshake_that_hangs_ends_with_the_cancellation(
    nursery: trio.Nursery, trusting: ssl.SSLContext
) -> None:
    waited = trio.Event()

    async def script(peer: Peer) -> None:
        waited.set()
        await peer.closed()

    receiver = await serve(nursery, script)
    names = Names(**NAMES)
    async with (
        open_transport(resolver=names, ssl_context=trusting) as transport,
        trio.open_nursery() as inner,
    ):
        inner.start_soon(transport.send, post(f"https://{HOST}:{receiver.port}/"))
        await waited.wait()
        inner.cancel_scope.cancel()
    await receiver.ended()


async def test_a_body_up_to_the_end_of_the_connection(
    nursery: trio.Nursery, good: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\nto the end")

    receiver = await serve(nursery, script, good)
    async with open_transport(resolver=Names(**NAMES), ssl_context=trusting) as transport:
        response = await transport.send(post(f"https://{HOST}:{receiver.port}/"))
    assert response.body == b"to the end"


class Corked(trio.abc.Stream):
    """A stream that can hold back what is sent, to let it go all at once."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._held = b""
        self.corked = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._held += data
        if not self.corked:
            await self.uncork()

    async def uncork(self) -> None:
        self.corked, held, self._held = False, self._held, b""
        await self._stream.send_all(held)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.parametrize("forged", [b"", b"HTTP/1.1 200 OK\r\n\r\nforged"])
async def test_an_answer_before_the_question_is_seen_inside_tls_too(
    good: ssl.SSLContext, trusting: ssl.SSLContext, forged: bytes
) -> None:
    """Two records come at once: the socket is empty while the second waits inside TLS."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = TlsStream(TcpStream(ours), trusting, HOST)
    corked = Corked(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)))
    server = trio.SSLStream(corked, good, server_side=True)
    async with trio.open_nursery() as inner:
        inner.start_soon(server.do_handshake)
        await client.handshake()
    corked.corked = True
    await server.send_all(OK)
    if forged:
        await server.send_all(forged)
    await corked.uncork()
    assert await client.receive_some(16_384) == OK
    assert client.quiet() is not bool(forged)
    client.close()
    theirs.close()


async def test_cancelling_in_mid_answer(
    nursery: trio.Nursery, good: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    receiver = await serve(nursery, hang, good)
    names = Names(**NAMES)
    async with (
        open_transport(resolver=names, ssl_context=trusting) as transport,
        trio.open_nursery() as inner,
    ):
        inner.start_soon(transport.send, post(f"https://{HOST}:{receiver.port}/"))
        await receiver.asked.wait()
        inner.cancel_scope.cancel()
    await receiver.ended()
