"""Bytes over TCP and over TLS, for one exchange at a time.

Not `trio.SocketStream` and `trio.SSLStream`, because those cannot tell two things that keeping connections
depends on: that not one byte of a request left, and that nothing waits to be read, inside TLS neither
(docs/decisions/0002-delivery-wire.md). Reads and writes raise OSError as the socket does. Cancellation is
safe; what it leaves half-done is closed by the owner of the stream.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")

_RECORD_BYTES = 17 << 10
"""A TLS record with its overhead."""
_MOST_TALK_BYTES = 256 << 10
"""What TLS may hear before it gives something: a handshake, with certificates up to OpenSSL's 100 KiB."""


class NothingSentError(ConnectionError):
    """The connection was closed before any byte left. Of a request: it may go out over another one."""


class Stream(Protocol):
    """One connected stream."""

    async def send_all(self, data: bytes) -> None:
        """Raises NothingSentError when the very first write fails, OSError when a later one does."""
        ...

    async def receive_some(self, max_bytes: int) -> bytes:
        """What has come, once something has; empty when the peer has closed."""
        ...

    def quiet(self) -> bool:
        """Whether it is open and nothing waits to be read: fit for the next request."""
        ...

    def close(self) -> None:
        """Idempotent, and does not wait: a half-said goodbye has no use here."""
        ...


class TcpStream:
    """Over a connected, non-blocking socket, which it owns."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    async def send_all(self, data: bytes) -> None:
        try:
            sent = self._write(data)
        except OSError as error:
            raise NothingSentError("closed before anything was sent") from error
        if sent == len(data):
            return  # no checkpoint: a response is always waited for
        rest = memoryview(data)
        while sent < len(data):
            await trio.lowlevel.wait_writable(self._socket)
            sent += self._write(rest[sent:])

    async def receive_some(self, max_bytes: int) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(max_bytes)
            except BlockingIOError:
                continue

    def quiet(self) -> bool:
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self._socket.close()

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0


class TlsStream:
    """TLS over a `TcpStream`. `handshake` comes first.

    A peer that closes without TLS's own goodbye is read as one that closes: many do, and a body's framing
    tells whether it is whole.
    """

    def __init__(self, tcp: TcpStream, context: ssl.SSLContext, hostname: str) -> None:
        self._tcp = tcp
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)

    async def handshake(self) -> None:
        """Raises ssl.SSLError when the peer is not who it should be, or does not speak TLS."""
        await self._pump(self._tls.do_handshake)

    async def send_all(self, data: bytes) -> None:
        await self._pump(lambda: self._tls.write(data))

    async def receive_some(self, max_bytes: int) -> bytes:
        try:
            return await self._pump(lambda: self._tls.read(max_bytes))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def quiet(self) -> bool:
        return not self._tls.pending() and not self._incoming.pending and self._tcp.quiet()

    def close(self) -> None:
        self._tcp.close()

    async def _pump(self, step: Callable[[], T]) -> T:
        """Do one step of TLS, carrying what it wants to say and to hear.

        Raises ssl.SSLError for a peer that talks and talks: OpenSSL reads on whatever comes to nothing.
        """
        talk = 0
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._tcp.receive_some(_RECORD_BYTES)
                self._feed(data)
                talk += len(data)
                if talk > _MOST_TALK_BYTES:
                    raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the receiver talks and says nothing") from None
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._tcp.send_all(self._outgoing.read())

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
