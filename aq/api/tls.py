"""TLS on a client's connection, below everything that the front room does: its limits are the same."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import trio

T = TypeVar("T")
HANDSHAKE_SECONDS: Final = 10
"""A client has so long to begin."""
_RECORD_BYTES: Final = 16 << 10
_MOST_TALK_BYTES: Final = 256 << 10
"""So much may come in that gives nothing to read."""


def server_context(certificate: str, key: str | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer with a certificate chain in PEM and its key, from that file or its own.

    Raises OSError and ssl.SSLError for files that cannot be read or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key, password=_no_password)
    return context


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the key has a passphrase; give one without")


class TlsStream(trio.abc.HalfCloseableStream):
    """The server's side of TLS over a client's stream; `handshake` comes first.

    One task may send while another one receives. A client that closes without TLS's own goodbye has closed:
    the framing of its request tells whether that was whole.
    """

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._sending = trio.Lock()
        self._said_goodbye = False

    @property
    def socket(self) -> trio.socket.SocketType:
        return self._stream.socket

    async def handshake(self) -> None:
        """Raises BrokenResourceError for a client that does not speak TLS with us, or is too slow."""
        with trio.move_on_after(HANDSHAKE_SECONDS):
            await self._pump(self._tls.do_handshake)
            return
        raise trio.BrokenResourceError("the client did not begin in time")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """After `send_eof` it is what comes over the wire, to be thrown away."""
        if self._said_goodbye:
            return bytes(await self._stream.receive_some(max_bytes))
        try:
            return await self._pump(lambda: self._tls.read(max_bytes or _RECORD_BYTES))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._said_goodbye:
            raise trio.ClosedResourceError
        await self._pump(lambda: self._tls.write(data) if data else 0)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say goodbye; the client may still send."""
        if not self._said_goodbye:
            self._said_goodbye = True
            with suppress(ssl.SSLError):  # it waits for the client's own goodbye, which is not needed
                self._tls.unwrap()
            await self._flush()
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _pump(self, step: Callable[[], T]) -> T:
        """Do one step of TLS, carrying what it wants to say and to hear; ssl.SSLError means the end."""
        talk = 0
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._stream.receive_some(_RECORD_BYTES)
                talk += len(data)
                if talk > _MOST_TALK_BYTES:
                    raise trio.BrokenResourceError("the client talks and says nothing") from None
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                raise
            except ssl.SSLError as error:
                raise trio.BrokenResourceError("the client does not speak TLS") from error
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        """In the order in which it was made: of two tasks one waits."""
        async with self._sending:
            if self._outgoing.pending:
                await self._stream.send_all(self._outgoing.read())
