"""The I/O of both clients: what a flow asks for is done by blocking, or by awaiting (on Trio and asyncio)."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from typing import Any, Final, Protocol, TypeVar, assert_never

import anyio
from attrs import frozen

from aq.client.call import Reply
from aq.client.core import Flow, Send, Sleep, Step
from aq.client.errors import APIError, ConnectionFailed, TimedOut, UnexpectedAnswer

T = TypeVar("T")
MOST_BYTES: Final = 64 << 20
"""Of an answer; a task with its payload and all attempts fits in a fraction of that."""


class HttpClient(Protocol):
    """As much of ``httpx.Client`` as is used; another library of the same form will do."""

    @property
    def build_request(self) -> Callable[..., Any]: ...
    @property
    def send(self) -> Callable[..., Any]: ...
    def close(self) -> None: ...


class AsyncHttpClient(Protocol):
    """As much of ``httpx.AsyncClient`` as is used."""

    @property
    def build_request(self) -> Callable[..., Any]: ...
    @property
    def send(self) -> Callable[..., Awaitable[Any]]: ...
    async def aclose(self) -> None: ...


@frozen
class Sync:
    """Does steps in the calling thread."""

    http: HttpClient

    def run(self, flow: Flow[T]) -> T:
        """What the flow returns, once all its steps are done."""
        try:
            step = next(flow)
            while True:
                try:
                    result = self._done(step)
                except APIError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    def _done(self, step: Step) -> Any:
        match step:
            case Send():
                return self._reply(step)
            case Sleep():
                return time.sleep(step.seconds)
            case _:
                assert_never(step)

    def _reply(self, step: Send) -> Reply:
        ends_at = time.monotonic() + step.timeout
        try:
            response = self.http.send(built(self.http, step), **SEND)
            try:
                body = Body()
                for part in response.iter_bytes():
                    body.add(part)
                    if time.monotonic() > ends_at:
                        raise TimedOut(late(step))
            finally:
                response.close()
        except Exception as error:
            raise told(error, self.http, step) from error
        return body.reply(response)


@frozen
class Async:
    """Does steps in the running event loop."""

    http: AsyncHttpClient

    async def run(self, flow: Flow[T]) -> T:
        """What the flow returns, once all its steps are done."""
        try:
            step = next(flow)
            while True:
                try:
                    result = await self._done(step)
                except APIError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _done(self, step: Step) -> Any:
        match step:
            case Send():
                return await self._reply(step)
            case Sleep():
                return await anyio.sleep(step.seconds)
            case _:
                assert_never(step)

    async def _reply(self, step: Send) -> Reply:
        try:
            with anyio.move_on_after(step.timeout):
                response = await self.http.send(built(self.http, step), **SEND)
                try:
                    body = Body()
                    async for part in response.aiter_bytes():
                        body.add(part)
                finally:
                    await response.aclose()
                return body.reply(response)
        except Exception as error:
            raise told(error, self.http, step) from error
        raise TimedOut(late(step))


# -- what both have in common -------------------------------------------------------------------------------
SEND: Final = {"stream": True, "auth": None, "follow_redirects": False}
"""Whatever a client that was handed over is set to: the key goes to the service only."""


def built(http: HttpClient | AsyncHttpClient, step: Send) -> Any:
    request = step.request
    return http.build_request(
        request.method, request.url, content=request.body, headers=dict(request.headers), timeout=step.timeout
    )


class Body:
    """The body of an answer as it comes in."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, part: bytes) -> None:
        self.parts.append(part)
        self.size += len(part)
        if self.size > MOST_BYTES:
            raise UnexpectedAnswer(f"the answer has more than {MOST_BYTES >> 20} MiB")

    def reply(self, response: Any) -> Reply:
        headers: Iterable[tuple[str, str]] = response.headers.items()
        lower = {name.lower(): value for name, value in headers}
        return Reply(int(response.status_code), lower, b"".join(self.parts))


def told(error: Exception, http: HttpClient | AsyncHttpClient, step: Send) -> Exception:
    """An exception of the HTTP library as one of ours; any other as it is."""
    library = library_of(http)
    if isinstance(error, library.TimeoutException) and not isinstance(error, library.ConnectTimeout):
        return TimedOut(late(step))
    if not isinstance(error, library.TransportError):
        return error
    never_sent = library.ConnectError, library.ConnectTimeout, library.ProxyError
    if isinstance(error, never_sent):
        failed = ConnectionFailed(f"cannot reach {origin(step)}: {error or type(error).__name__}")
        failed.sent = False
        return failed
    return ConnectionFailed(
        f"the connection to {origin(step)} broke before the answer: {error or type(error).__name__}"
    )


def library_of(http: HttpClient | AsyncHttpClient) -> Any:
    """The module whose exceptions a client raises: that of its class, or of one which that is made of."""
    modules = (sys.modules.get(kind.__module__.partition(".")[0]) for kind in type(http).__mro__)
    return next((it for it in modules if hasattr(it, "TransportError")), None) or import_module("httpx")


def late(step: Send) -> str:
    return f"no answer from {origin(step)} within {step.timeout:.1f} s"


def origin(step: Send) -> str:
    return "/".join(step.request.url.split("/", 3)[:3])
