"""The I/O of a stream that is left open: by blocking, or by awaiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_never

import anyio

from aq.client.call import Reply
from aq.client.core import Open, Read, Send, Sleep, StreamStep
from aq.client.drivers import SEND, Async, Body, Sync, built, late, leave, reply_of, told
from aq.client.errors import TimedOut

_OK = 200


class Channel:
    """Does the steps of a stream, one stream after the other, in the calling thread."""

    def __init__(self, driver: Sync) -> None:
        self._driver = driver
        self._opened: Open | None = None
        self._response: Any = None
        self._pieces: Iterator[bytes] = iter(())

    def done(self, step: StreamStep) -> Any:
        match step:
            case Open():
                return self._open(step)
            case Read():
                return self._read()
            case Sleep():
                return self._driver.done(step)
            case _:
                assert_never(step)

    def close(self) -> None:
        response, self._response = self._response, None
        self._opened, self._pieces = None, iter(())
        if response is not None:
            response.close()

    def _open(self, step: Open) -> Reply:
        self.close()
        http = self._driver.http
        with told(http, step):
            response = http.send(built(http, step), **SEND)
            if response.status_code != _OK:
                return self._driver.read(response, Send(step.request, step.timeout))
        self._opened, self._response, self._pieces = step, response, response.iter_bytes()
        return reply_of(response, Body())

    def _read(self) -> bytes:
        if self._opened is None:
            return b""
        with told(self._driver.http, self._opened):
            return next(self._pieces, b"")


class AsyncChannel:
    """Does the steps of a stream, one stream after the other, in the running event loop.

    One that was cancelled while it was read is at its end.
    """

    def __init__(self, driver: Async) -> None:
        self._driver = driver
        self._opened: Open | None = None
        self._response: Any = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def done(self, step: StreamStep) -> Any:
        match step:
            case Open():
                return await self._open(step)
            case Read():
                return await self._read()
            case Sleep():
                return await self._driver.done(step)
            case _:
                assert_never(step)

    async def aclose(self) -> None:
        response, pieces = self._response, self._pieces
        self._opened, self._response, self._pieces = None, None, None
        if response is not None and pieces is not None:
            await leave(response, pieces)

    async def _open(self, step: Open) -> Reply:
        await self.aclose()
        http = self._driver.http
        with told(http, step), anyio.move_on_after(step.timeout):
            response = await http.send(built(http, step), **SEND)
            if response.status_code != _OK:
                return await self._driver.read(response)
            self._opened, self._response, self._pieces = step, response, response.aiter_bytes()
            return reply_of(response, Body())
        raise TimedOut(late(step))

    async def _read(self) -> bytes:
        if self._opened is None or self._pieces is None:
            return b""
        with told(self._driver.http, self._opened):
            return await anext(self._pieces, b"")
