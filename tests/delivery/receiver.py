"""Receivers that do as a script says, on real loopback sockets, and count what reached them."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio
from attrs import define, field, frozen

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@frozen
class Received:
    """One request as it came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """One accepted connection, as a script sees it."""

    def __init__(self, stream: trio.abc.Stream, receiver: Receiver) -> None:
        self._stream = stream
        self._receiver = receiver
        self._buffer = b""

    async def request(self) -> Received | None:
        """The next request, whole; None when the other side has closed."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._fill():
                return None
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = dict(text.split(": ", 1) for text in lines)
        assert len(headers) == len(lines), "a header came twice"
        length = int(headers.get("content-length", "0"))
        self._buffer = rest
        while len(self._buffer) < length:
            await self._fill()
        received = Received(line, headers, self._buffer[:length])
        self._buffer = self._buffer[length:]
        self._receiver.requests.append(received)
        self._receiver.asked.set()
        return received

    async def say(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def closed(self) -> None:
        """Wait until the other side has closed, or given up, the connection."""
        while await self._fill():
            pass

    async def close(self) -> None:
        await self._stream.aclose()

    async def reset(self) -> None:
        """Close with a TCP reset instead of a goodbye."""
        tls = self._stream
        stream = tls.transport_stream if isinstance(tls, trio.SSLStream) else tls
        assert isinstance(stream, trio.SocketStream)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    async def _fill(self) -> bytes:
        data = bytes(await self._stream.receive_some())
        self._buffer += data
        return data


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


@define
class Receiver:
    """What a script has seen so far."""

    port: int
    connections: int = 0
    requests: list[Received] = field(factory=list)
    asked: trio.Event = field(factory=trio.Event)
    over: trio.Event = field(factory=trio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def ended(self) -> None:
        """Wait until the first connection has ended."""
        with trio.fail_after(10):
            await self.over.wait()


async def serve(nursery: trio.Nursery, script: Script, tls: ssl.SSLContext | None = None) -> Receiver:
    """Run the script for each connection to a fresh port of 127.0.0.1, until the nursery is cancelled."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    receiver = Receiver(listener.socket.getsockname()[1])

    async def handle(stream: trio.SocketStream) -> None:
        receiver.connections += 1
        peer = Peer(
            trio.SSLStream(stream, tls, server_side=True, https_compatible=True) if tls else stream, receiver
        )
        try:
            await script(peer)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the other side went away: what many scripts are about
        finally:
            receiver.over.set()
            stream.socket.close()

    nursery.start_soon(trio.serve_listeners, handle, [listener])
    return receiver


def answering(*answers: bytes) -> Script:
    """Answer each request of a connection: the answers in turn, the last one for ever."""

    async def script(peer: Peer) -> None:
        left = list(answers)
        while await peer.request():
            await peer.say(left.pop(0) if len(left) > 1 else left[0])

    return script


async def hang(peer: Peer) -> None:
    """Read the request and say nothing."""
    await peer.request()
    await peer.closed()
