"""What a front serves, in memory."""

from __future__ import annotations

import socket
from typing import Any

import trio
from attrs import frozen


@frozen
class Address:
    """What Hypercorn asks a socket for."""

    family: int = socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    getsockname = getpeername


@frozen
class ServerSide(trio.abc.HalfCloseableStream):
    """A stream in memory that has a socket."""

    inner: trio.StapledStream[Any, Any]
    socket: Address = Address()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        await self.inner.aclose()
