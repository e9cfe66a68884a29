"""One HTTP exchange: over our own pool, or over any httpx transport."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import cast

import httpx
import trio

from aq.delivery.connect import Connector
from aq.delivery.pool import Pool
from aq.delivery.protocol import (
    KEPT_BYTES,
    MAX_RESPONSE_BYTES,
    DeliveryError,
    WebhookRequest,
    WebhookResponse,
)
from aq.delivery.streams import NothingSentError
from aq.delivery.wire import Connection, head_of, tls_words
from aq.outcome import AttemptStatus, ErrorType
from aq.target import Destination


class PoolTransport:
    """Over kept-alive connections, shared by destination. Proxies are not used, redirects not followed.

    A request of which any byte may have gone out is never sent again. An exchange that fails or is cancelled
    closes its connection.
    """

    def __init__(self, connector: Connector, pool: Pool[Connection] | None = None) -> None:
        self._connector = connector
        self._pool = Pool[Connection]() if pool is None else pool
        self._closed = False

    async def send(self, request: WebhookRequest) -> WebhookResponse:
        """Raises DeliveryError. The total of the timing counts from the call."""
        now = request.stopwatch.start()
        try:
            return await self._send(request, now)
        except DeliveryError as error:
            error.timing = request.stopwatch.timing()
            raise

    async def aclose(self) -> None:
        """Close what is idle, and what comes back from now on."""
        self._closed = True
        _close(self._pool.clear())
        await trio.lowlevel.checkpoint()

    async def _send(self, request: WebhookRequest, now: float) -> WebhookResponse:
        destination = request.target.destination
        idle = self._take(destination, now)
        if idle is not None:
            try:
                return await self._exchange(idle, request)
            except NothingSentError:
                pass  # closed since the look at it: the request is still whole, and ours
        try:
            fresh = await self._connector.open(destination, request.stopwatch)
            return await self._exchange(fresh, request)
        except NothingSentError as error:
            raise DeliveryError(ErrorType.RESET, "the receiver closed the connection at once") from error

    def _take(self, destination: Destination, now: float) -> Connection | None:
        _close(self._pool.expired(now))
        while (connection := self._pool.take(destination)) is not None:
            if connection.fit():
                return connection
            connection.close()
        return None

    async def _exchange(self, connection: Connection, request: WebhookRequest) -> WebhookResponse:
        try:
            return await connection.exchange(request)
        finally:
            self._give_back(request.target.destination, connection)

    def _give_back(self, destination: Destination, connection: Connection) -> None:
        if connection.reusable and not self._closed:
            _close(self._pool.put(destination, connection, trio.current_time()))
        else:
            connection.close()


class HttpxTransport:
    """Over any httpx transport: a MockTransport in tests, a proxy, HTTP/2.

    The transport given connects by itself, so the guard sees only what shows in a URL: addresses behind a
    name are not judged, and a proxy must do its own guarding. Caps on headers are the transport's own.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def send(self, request: WebhookRequest) -> WebhookResponse:
        """Raises DeliveryError; of the timing, only ttfb and total are known."""
        head_of(request)  # refuses what would break the request; not every transport does
        request.stopwatch.start()
        try:
            with _translated():
                return await self._send(request)
        except DeliveryError as error:
            error.timing = request.stopwatch.timing()
            raise

    async def _send(self, request: WebhookRequest) -> WebhookResponse:
        asked = trio.current_time()
        response = await self._transport.handle_async_request(_as_httpx(request))
        request.stopwatch.answered(asked)
        try:
            body = await _capped(response)
        finally:
            await response.aclose()
        headers = response.headers.multi_items()
        return WebhookResponse(response.status_code, headers, body, request.stopwatch.timing())

    async def aclose(self) -> None:
        """Close the transport that was given."""
        await self._transport.aclose()


def _close(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()


def _as_httpx(request: WebhookRequest) -> httpx.Request:
    url = f"{request.target.destination}{request.target.path}"
    return httpx.Request(request.method, url, headers=list(request.headers), content=request.body)


async def _capped(response: httpx.Response) -> bytes:
    """The head of the body as it came, not decompressed."""
    kept, read = b"", 0
    chunks = aiter(cast("httpx.AsyncByteStream", response.stream))
    try:
        async for chunk in chunks:
            kept += chunk[: KEPT_BYTES - len(kept)]
            read += len(chunk)
            if read >= MAX_RESPONSE_BYTES:
                break
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    return kept


@contextmanager
def _translated() -> Iterator[None]:
    """httpx's exceptions as DeliveryError. Often their cause, with the text, is in the chain behind them."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise DeliveryError(ErrorType.TIMEOUT, _words(error), AttemptStatus.TIMEOUT) from error
    except (httpx.ConnectError, httpx.ProxyError) as error:
        raise DeliveryError(_connect_error_type(error), f"could not connect: {_words(error)}") from error
    except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise DeliveryError(ErrorType.RESET, f"the exchange broke off: {_words(error)}") from error
    except httpx.TransportError as error:
        raise DeliveryError(ErrorType.UNKNOWN, f"the exchange failed: {_words(error)}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _connect_error_type(error: Exception) -> ErrorType:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return ErrorType.TLS
        if isinstance(cause, socket.gaierror):
            return ErrorType.DNS
    return ErrorType.CONNECT


def _words(error: Exception) -> str:
    """The first text along the chain of causes."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return tls_words(cause)
        if str(cause):
            return str(cause)
    return type(error).__name__
