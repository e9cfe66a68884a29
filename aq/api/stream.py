"""A client's TCP stream without a turn of the event loop for every piece."""

from __future__ import annotations

import socket

import trio


class ClientStream(trio.abc.HalfCloseableStream):
    """What `trio.SocketStream` does, over the same socket: one task may send while another one receives.

    Trio's own asks the kernel before it waits, and lets others run after each piece. A client seldom sends
    before it has its answer, and nearly every answer fits into the kernel's buffer: so this one waits first
    when it receives, and `send_now` does not wait at all.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._kernel = socket.socket(fileno=stream.socket.fileno())
        """On the descriptor that ``stream`` owns and closes."""
        self._first = True

    @property
    def socket(self) -> trio.socket.SocketType:
        return self._stream.socket

    def send_now(self, data: bytes) -> int:
        """How much of it the kernel took. Raises BrokenResourceError and ClosedResourceError."""
        try:
            return self._kernel.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._gone() from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Raises BrokenResourceError and ClosedResourceError."""
        if self._first:  # who has just come has often spoken already
            self._first = False
            return bytes(await self._stream.receive_some(max_bytes))
        if self._kernel.fileno() < 0:
            raise self._gone()
        try:
            await trio.lowlevel.wait_readable(self._kernel)
            return self._kernel.recv(65_536 if max_bytes is None else max_bytes)
        except BlockingIOError:
            return bytes(await self._stream.receive_some(max_bytes))
        except OSError as error:
            raise self._gone() from error

    async def aclose(self) -> None:
        self._kernel.detach()
        await self._stream.aclose()

    def _gone(self) -> trio.BrokenResourceError | trio.ClosedResourceError:
        if self._kernel.fileno() < 0:
            return trio.ClosedResourceError("this stream is closed")
        return trio.BrokenResourceError("the client has gone")
