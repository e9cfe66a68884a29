"""One client's connection: slow, silent and malformed clients end here.

Hypercorn is given whole requests only (see `aq.api.wire`), one at a time, so every refusal of this room finds
no answer in flight. All times are Trio's, so a test can move them.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from aq.api.answer import Answer
from aq.api.framing import Refusal
from aq.api.problems import CONTENT_TYPE, problem, title_of
from aq.api.requests import new_request_id
from aq.api.room import Room
from aq.api.stream import ClientStream
from aq.api.tls import TlsStream
from aq.api.wire import Request, RequestReader

SILENT_SECONDS: Final = 10
"""In mid-request a client may be silent for so long."""
REQUEST_SECONDS: Final = 30
"""A request must be whole so long after its first byte."""
IDLE_SECONDS: Final = 75
"""Between requests a connection is kept for so long."""
SEND_SECONDS: Final = 15
"""So long a client may take nothing of its answer (a piece of at most ``SEND_PIECE`` bytes)."""
SEND_PIECE: Final = 64 << 10
HALF_CLOSED_SECONDS: Final = 1
"""A client that has closed its side may still wait for its answer: the handler has so long to finish."""
LINGER_SECONDS: Final = 2
"""After a refusal what still arrives is discarded for so long, so that the answer is not lost in a reset."""
_RECEIVE: Final = 64 << 10
_MOST_LINGERING: Final = 8 << 20

App = Callable[[Scope, ASGIReceiveCallable, ASGISendCallable, Any, Any], Awaitable[None]]


class Connection:
    """The stream that Hypercorn serves, and the ASGI app that it calls, of one client."""

    def __init__(
        self, stream: trio.abc.HalfCloseableStream, app: App, room: Room, refused: Callable[[int], None]
    ) -> None:
        """``refused`` hears the status of what is refused here."""
        self.stream = stream
        self._tell_refused = refused
        self._app = app
        self._room = room
        self._held = 0
        """This connection's part of what the room holds."""
        self._in_flight = 0
        """The size of the request that is being answered."""
        self._reader = RequestReader()
        self._given_back: Request | None = None
        self.over = trio.CancelScope()
        """Cancelled when there is nothing left to serve: Hypercorn would wait for a timer of its own."""
        self.listening = trio.Event()
        """Set once the client was listened to, or refused without that."""
        self._receiving = trio.CancelScope()
        self._answered = trio.Event()
        self._answered.set()
        self._waiting_since = trio.current_time()
        self._ended = False
        """No further request will be read."""
        self._heard_all = False
        """The client has closed its side."""
        self._refused = False

    @property
    def socket(self) -> trio.socket.SocketType:
        """Hypercorn asks it for the addresses of both sides."""
        socket: trio.socket.SocketType = self.stream.socket  # type: ignore[attr-defined]
        return socket

    # -- the app's side -------------------------------------------------------------------------------------
    async def app(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable, spawn: Any, call: Any
    ) -> None:
        """The app, watched: once it returns, its answer is sent and the next request may be read."""
        if isinstance(self.stream, TlsStream) and scope["type"] == "http":
            scope["scheme"] = "https"
        try:
            await self._app(scope, receive, send, spawn, call)
        finally:
            self._done()

    # -- Hypercorn's side: a stream -------------------------------------------------------------------------
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """One whole request, whatever its size; ``b""`` when the client has closed."""
        request = self._given_back or await self.next_request()
        self._given_back = None
        return b"" if request is None else request.plain

    async def next_request(self) -> Request | None:
        """None when the client has closed. Raises ClosedResourceError or BrokenResourceError at the end."""
        try:
            return await self._next_request()
        except Refusal as refusal:
            await self._refuse(refusal)
            self.end_soon()
            raise trio.ClosedResourceError("the client was refused") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.end_soon()
            raise

    async def send_all(self, data: bytes) -> None:
        """Send a part of an answer. Raises BrokenResourceError when the client does not take it."""
        if self._refused:
            raise trio.ClosedResourceError
        try:
            await self._send(data)
        except trio.BrokenResourceError:
            self.end_soon()  # whatever it has pipelined, nobody waits for the answers
            raise

    async def send_eof(self) -> None:
        """Hypercorn's first step of closing, and maybe its last: Quart may cancel the task that closes."""
        self._stop_reading()
        await self.stream.send_eof()

    async def aclose(self) -> None:
        """Hypercorn has done with the connection; the bytes' way is closed by `finish`."""
        self._stop_reading()
        await trio.lowlevel.checkpoint()

    # -- the lane's side ------------------------------------------------------------------------------------
    async def answer(self, data: bytes, *, last: bool) -> None:
        """The whole answer to the request that was given out. Raises BrokenResourceError as `send_all`."""
        try:
            await self.send_all(data)
            if last:
                await self.send_eof()
        finally:
            self._done()

    def give_back(self, request: Request) -> None:
        """It was not answered: Hypercorn gets it first."""
        self._given_back = request

    # -- the front's side -----------------------------------------------------------------------------------
    def end_soon(self) -> None:
        """Read no further request; end at once, or when the answer that is in flight has been sent."""
        self._ended = True
        self._end_if_over()

    async def finish(self) -> None:
        """Close the way of the bytes, after a refusal not before the client had time to read it."""
        try:
            with trio.move_on_after(LINGER_SECONDS):
                await self._linger()
        finally:
            self._room.held -= self._held
            self._held = 0
            self.listening.set()
            await trio.aclose_forcefully(self.stream)

    async def refuse(self, status: int, detail: str) -> None:
        """Answer without having read anything."""
        self.listening.set()
        await self._refuse(Refusal(status, detail))

    # -- within ---------------------------------------------------------------------------------------------
    async def _next_request(self) -> Request | None:
        while True:
            if self._answered.is_set() and not self._ended:
                request = self._reader.next_request()
                if request is not None:
                    self._answered = trio.Event()
                    self._in_flight = request.size
                    self._hold()
                    return request
                if self._reader.wants_continue:
                    self._reader.continued()
                    await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not await self._receive():
                await self._end()
                return None

    def _done(self) -> None:
        self._in_flight = 0
        self._answered.set()
        self._hold()
        self._waiting_since = trio.current_time()
        self._receiving.deadline = self._deadline()
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._ended and self._answered.is_set():
            self.over.cancel()

    def _stop_reading(self) -> None:
        self._ended = True
        self._receiving.cancel()

    def _deadline(self) -> float:
        if not self._answered.is_set():
            return math.inf
        if not self._reader.begun:
            return self._waiting_since + IDLE_SECONDS
        return min(trio.current_time() + SILENT_SECONDS, self._waiting_since + REQUEST_SECONDS)

    async def _receive(self) -> bool:
        """Wait for more bytes; False when the client has closed. Raises Refusal when it took too long."""
        if not self._answered.is_set() and self._reader.begun:
            await self._answered.wait()  # it has pipelined: read no further until its turn has come
            self._waiting_since = trio.current_time()
            return True
        await self._no_more_after_the_end()
        self.listening.set()
        fresh = not self._reader.begun
        with trio.CancelScope(deadline=self._deadline()) as self._receiving:
            data = await self.stream.receive_some(_RECEIVE)
            self._reader.receive(data)
            self._hold()
            if fresh and self._reader.begun:
                self._waiting_since = trio.current_time()
            return bool(data)
        if self._ended or not self._reader.begun:
            raise trio.ClosedResourceError
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "the request took too long to arrive")

    def _hold(self) -> None:
        """Tell the room what is here. Raises Refusal where that is too much and no answer is in flight."""
        size = self._reader.size + self._in_flight
        more = size - self._held
        self._room.held += more
        self._held = size
        if more > 0 and self._answered.is_set() and not self._room.has_for(size):
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too much is being sent to this service at once")

    async def _no_more_after_the_end(self) -> None:
        """Raises ClosedResourceError; before the answer is sent that would cancel the handler."""
        if self._ended:
            await self._answered.wait()
            raise trio.ClosedResourceError

    async def _end(self) -> None:
        """The client has closed its side."""
        self._heard_all = True
        with trio.move_on_after(HALF_CLOSED_SECONDS):
            await self._answered.wait()
        if self._reader.begun and self._answered.is_set():
            raise Refusal(400, "the connection was closed in the middle of a request")
        self.end_soon()

    async def _send(self, data: bytes) -> None:
        if isinstance(self.stream, ClientStream):
            sent = self.stream.send_now(data)
            if sent == len(data):
                return
            data = data[sent:]
        for start in range(0, len(data), SEND_PIECE):
            with trio.move_on_after(SEND_SECONDS) as scope:
                await self.stream.send_all(data[start : start + SEND_PIECE])
            if scope.cancelled_caught:
                await trio.aclose_forcefully(self.stream)
                raise trio.BrokenResourceError("the client does not take its answer")

    async def _refuse(self, refusal: Refusal) -> None:
        self._refused = True
        self._tell_refused(refusal.status)
        head_only = self._reader.asks_for_head_only
        self._reader = RequestReader()  # what was here takes no room while the client reads this
        self._hold()
        body = problem(refusal.status, title_of(refusal.status), refusal.detail)
        headers = {"Content-Type": CONTENT_TYPE, "X-Request-Id": new_request_id()}
        if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = "1"
        answer = Answer(refusal.status, headers, body)
        try:
            await self._send(answer.head(last=True) + (b"" if head_only else body))
            await self.stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it has gone: nobody to tell

    async def _linger(self) -> None:
        unread = (self._refused or self._reader.begun) and not self._heard_all
        left = _MOST_LINGERING if unread else 0
        try:
            while left > 0 and (data := await self.stream.receive_some(_RECEIVE)):
                left -= len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
