"""The door: accepts connections, gives each to the lane and to Hypercorn behind a `Connection`, and closes
in good order.

The few lines of Hypercorn's own ``worker_serve`` (lifespan, then one ``TCPServer`` per connection) are
repeated here so that the order of a shutdown is ours: the listeners stay open while the engine drains.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState

from aq.api.connection import SEND_SECONDS, Connection
from aq.api.framing import MAX_BODY_BYTES
from aq.api.lane import Lane
from aq.api.room import MAX_HELD_BYTES, Room
from aq.api.stream import ClientStream
from aq.api.tls import TlsStream
from aq.api.wire import MAX_HEAD_BYTES
from aq.telemetry.traffic import Traffic

MAX_CONNECTIONS: Final = 10_000
"""Beyond so many open connections a new one is answered 503 and closed."""
_TOLD_NO: Final = 100
"""Clients over the bound that get an answer; further ones are closed without a word."""
BACKLOG: Final = 1_024
LAST_SECONDS: Final = 0.05
"""Once nobody comes in any more: what those who are in had sent by then is read, and answered."""
CLOSE_SECONDS: Final = 2
"""At the end, answers that are on their way have so long to go out."""
logger = logging.getLogger(__name__)


async def open_listeners(host: str, port: int) -> Sequence[trio.SocketListener]:
    """Bind; connections queue in the kernel until `open_front` accepts them. Raises OSError."""
    return await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)


@asynccontextmanager
async def open_front(
    app: ASGIFramework,
    listeners: Sequence[trio.SocketListener],
    *,
    lane: Lane | None = None,
    traffic: Traffic | None = None,
    max_connections: int = MAX_CONNECTIONS,
    max_held_bytes: int = MAX_HELD_BYTES,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Front]:
    """Serve the app until the block is left; then close the listeners and, within seconds, every connection.

    Who has connected by then, accepted or not, is served. What has been sent is answered, and an answer that
    is on its way goes out if its client takes it; idle connections are closed.
    ``traffic`` counts its connections and refusals. With ``tls`` clients speak HTTPS.
    """
    config = _config()
    context = WorkerContext(None)
    async with _lifespan(app, config) as state, trio.open_nursery() as connections:
        counted = traffic or Traffic()
        front = Front(app, lane, config, context, state, max_connections, Room(max_held_bytes), counted, tls)
        listening = [_second_hand(listener.socket) for listener in listeners]
        try:
            async with trio.open_nursery() as accepting:
                accept = partial(trio.serve_listeners, front.serve, handler_nursery=connections)
                for listener in listeners:
                    accepting.start_soon(accept, [listener])
                yield front
                accepting.cancel_scope.cancel()
            for stream in _last_ones(listening):
                connections.start_soon(front.serve, stream)
            await trio.sleep(LAST_SECONDS)
            await front.wait_listening()
            await trio.lowlevel.checkpoint()  # behind everyone who was woken in the same moment
            front.end_soon()
            with trio.move_on_after(CLOSE_SECONDS):
                await front.wait_empty()
        finally:
            for kernel in listening:
                kernel.close()
            await front.abort()


class Front:
    """The open connections."""

    def __init__(
        self,
        app: ASGIFramework,
        lane: Lane | None,
        config: Config,
        context: WorkerContext,
        state: LifespanState,
        max_connections: int,
        room: Room,
        traffic: Traffic,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._app = ASGIWrapper(app)
        self._lane = lane
        self._config = config
        self._context = context
        self._state = state
        self._max_connections = max_connections
        self._room = room
        self._traffic = traffic
        self._tls = tls
        self.open: set[Connection] = set()
        """Every connection from its accept to its end."""
        self._one_less = trio.Event()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.open)

    @property
    def held_bytes(self) -> int:
        """How much of requests is here and not yet answered."""
        return self._room.held

    async def serve(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Serve one client until its connection ends. A fault in it is logged and ends only this one."""
        if len(self.open) >= self._max_connections + _TOLD_NO:
            await trio.aclose_forcefully(stream)
            return
        if isinstance(stream, trio.SocketStream):
            _give_up_on_the_silent(stream)
            stream = ClientStream(stream) if self._tls is None else TlsStream(stream, self._tls)
        connection = Connection(stream, self._app, self._room, self._traffic.refused)
        self.open.add(connection)
        self._traffic.connections += 1
        try:
            await self._serve(connection)
        except Exception:
            logger.exception("a connection failed")
        finally:
            try:
                await connection.finish()
            finally:
                self.open.discard(connection)
                self._traffic.connections -= 1
                self._one_less.set()
                self._one_less = trio.Event()

    async def _serve(self, connection: Connection) -> None:
        if len(self.open) > self._max_connections:
            await connection.refuse(503, "too many connections are open")
            return
        with connection.over:
            if isinstance(connection.stream, TlsStream) and not await _begun(connection, connection.stream):
                return
            if self._lane is not None and not await self._lane.serve(connection):
                return
            state = ConnectionState(self._state)
            await TCPServer(connection.app, self._config, self._context, state, connection).run()  # type: ignore[arg-type]  # it asks for an SSLStream and uses these five methods

    def end_soon(self) -> None:
        """Close idle connections, and each other one when its answer has been sent."""
        for connection in self.open:
            connection.end_soon()

    async def wait_listening(self) -> None:
        """Until no connection is so new that its client was never listened to."""
        for connection in list(self.open):
            await connection.listening.wait()

    async def wait_empty(self) -> None:
        """Until no connection is open."""
        while self.open:
            await self._one_less.wait()

    async def abort(self) -> None:
        """Cut every connection, also one whose client takes nothing of its answer."""
        with trio.CancelScope(shield=True):
            for connection in list(self.open):
                connection.over.cancel()
                await trio.aclose_forcefully(connection.stream)


@asynccontextmanager
async def _lifespan(app: ASGIFramework, config: Config) -> AsyncIterator[LifespanState]:
    """The app's startup and shutdown, told by ASGI's lifespan protocol."""
    state: LifespanState = {}
    lifespan = Lifespan(ASGIWrapper(app), config, state)
    async with trio.open_nursery() as nursery:
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        yield state
        await lifespan.wait_for_shutdown()
        nursery.cancel_scope.cancel()


def _config() -> Config:
    """Hypercorn without timers and opinions of its own: `Connection` has them."""
    config = Config()
    config.errorlog = logging.getLogger("aq.hypercorn")
    config.include_server_header = False
    config.keep_alive_timeout = inf
    config.keep_alive_max_requests = 1 << 62
    config.h11_max_incomplete_size = MAX_HEAD_BYTES + MAX_BODY_BYTES
    return config


async def _begun(connection: Connection, stream: TlsStream) -> bool:
    """Whether the client speaks TLS. Until then it has asked for nothing that the end should answer."""
    connection.listening.set()
    try:
        await stream.handshake()
    except trio.BrokenResourceError:
        return False
    return True


def _give_up_on_the_silent(stream: trio.SocketStream) -> None:
    """Let the kernel end a connection whose peer acknowledges nothing for a while."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SEND_SECONDS * 1_000)


def _second_hand(listening: trio.socket.SocketType) -> socket.socket:
    """On the same listening socket, which is closed with its last hand; an accept loop closes its own."""
    kernel = socket.fromfd(listening.fileno(), listening.family, listening.type)
    kernel.setblocking(False)
    return kernel


def _last_ones(listening: Sequence[socket.socket]) -> Iterator[trio.SocketStream]:
    """Close; before that take whom nobody has accepted of all who connected: a close would reset them.

    There is no step of the event loop between the last of them and the close. They are as many at most as can
    wait at once, since others may come meanwhile.
    """
    for kernel in listening:
        for _ in range(BACKLOG + 1):
            try:
                accepted, _ = kernel.accept()
            except BlockingIOError:
                break
            except OSError:
                continue  # this one has gone, or there is no file left for it
            yield trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
        kernel.close()
