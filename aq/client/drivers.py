"""The I/O of both clients: what a flow asks for is done by blocking, or by awaiting (on Trio and asyncio)."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, Protocol, TypeVar, assert_never

import anyio
from attrs import frozen

from aq.client.call import Reply
from aq.client.core import Flow, Open, Send, Sleep, Step
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
                    result = self.done(step)
                except APIError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    def done(self, step: Step) -> Any:
        match step:
            case Send():
                return self._reply(step)
            case Sleep():
                return time.sleep(step.seconds)
            case _:
                assert_never(step)

    def _reply(self, step: Send) -> Reply:
        with told(self.http, step):
            response = self.http.send(built(self.http, step), **SEND)
            return self.read(response, step)

    def read(self, response: Any, step: Send) -> Reply:
        """The whole reply of a response that has begun; it is closed. Raises what the library raises."""
        body, ends_at = Body(), time.monotonic() + step.timeout
        try:
            for piece in response.iter_bytes():
                body.add(piece)
                if time.monotonic() > ends_at:
                    raise TimedOut(late(step))
        finally:
            response.close()
        return reply_of(response, body)


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
                    result = await self.done(step)
                except APIError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    async def done(self, step: Step) -> Any:
        match step:
            case Send():
                return await self._reply(step)
            case Sleep():
                return await anyio.sleep(step.seconds)
            case _:
                assert_never(step)

    async def _reply(self, step: Send) -> Reply:
        with told(self.http, step), anyio.move_on_after(step.timeout):
            response = await self.http.send(built(self.http, step), **SEND)
            return await self.read(response)
        raise TimedOut(late(step))

    async def read(self, response: Any) -> Reply:
        """The whole reply of a response that has begun; it is closed. Raises what the library raises."""
        body, pieces = Body(), response.aiter_bytes()
        try:
            async for piece in pieces:
                body.add(piece)
        finally:
            await leave(response, pieces)
        return reply_of(response, body)


# -- what both have in common -------------------------------------------------------------------------------
SEND: Final = {"stream": True, "auth": None, "follow_redirects": False}
"""Whatever a client that was handed over is set to: the key goes to the service only."""


def built(http: HttpClient | AsyncHttpClient, step: Send | Open) -> Any:
    """The library's request: with a limit for each of its own steps, to connect, read, write, and wait for a
    connection."""
    request, most = step.request, step.timeout
    return http.build_request(
        request.method,
        request.url,
        content=request.body,
        headers=dict(request.headers),
        timeout=(most, step.silence if isinstance(step, Open) else most, most, most),
    )


class Body:
    """The body of an answer as it comes in."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.size += len(piece)
        if self.size > MOST_BYTES:
            raise UnexpectedAnswer(f"the answer has more than {MOST_BYTES >> 20} MiB")


def reply_of(response: Any, body: Body) -> Reply:
    headers: Iterable[tuple[str, str]] = response.headers.items()
    lower = {name.lower(): value for name, value in headers}
    return Reply(int(response.status_code), lower, b"".join(body.pieces))


async def leave(response: Any, pieces: AsyncIterator[bytes]) -> None:
    """Close a response, however much of it has been read.

    The library reads through generators within generators, and Trio minds those that are left unfinished:
    they are read on, and cancelled at once.
    """
    with anyio.CancelScope() as scope:
        scope.cancel()
        async for _ in pieces:
            pass
    await response.aclose()


@contextmanager
def told(http: HttpClient | AsyncHttpClient, step: Send | Open) -> Iterator[None]:
    """An exception of the HTTP library becomes one of ours; any other stays as it is."""
    library = library_of(http)
    try:
        yield
    except (library.ConnectError, library.ConnectTimeout, library.PoolTimeout, library.ProxyError) as error:
        failed = ConnectionFailed(f"cannot reach {origin(step)}: {error or type(error).__name__}")
        failed.sent = False
        raise failed from error
    except library.TimeoutException as error:
        raise TimedOut(late(step)) from error
    except library.TransportError as error:
        what = f"the connection to {origin(step)} broke: {error or type(error).__name__}"
        raise ConnectionFailed(what) from error


def library_of(http: HttpClient | AsyncHttpClient) -> Any:
    """The module whose exceptions a client raises: that of its class, or of one which that is made of."""
    modules = (sys.modules.get(kind.__module__.partition(".")[0]) for kind in type(http).__mro__)
    return next((it for it in modules if hasattr(it, "TransportError")), None) or import_module("httpx")


def late(step: Send | Open) -> str:
    return f"no answer from {origin(step)} within {step.timeout:.1f} s"


def origin(step: Send | Open) -> str:
    return "/".join(step.request.url.split("/", 3)[:3])
