"""A small HTTP/1.1 server for webhooks: `aq receive` and `aq demo` stand on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import h11
import trio
from attrs import frozen

MAX_BODY_BYTES: Final = 2 << 20
"""A delivery has at most 1 MiB of payload."""
_PIECE: Final = 64 << 10
_REQUEST_SECONDS: Final = 75
"""A connection may wait so long for its next request to be whole."""


@frozen
class Arrived:
    """A whole request. Header names are in lower case; of one that came twice the last counts."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answering: TypeAlias = Callable[[Arrived], Awaitable[int]]
"""Takes a request and returns the status to answer it with."""


async def listen(
    host: str, port: int, answer: Answering, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; started when it listens, with its URL. Raises OSError where it cannot."""
    listeners = await trio.open_tcp_listeners(port, host=host)
    name, number = listeners[0].socket.getsockname()[:2]
    task_status.started(f"http://[{name}]:{number}/" if ":" in name else f"http://{name}:{number}/")
    await trio.serve_listeners(partial(_serve, answer), listeners)


async def _serve(answer: Answering, stream: trio.SocketStream) -> None:
    http = h11.Connection(h11.SERVER)
    async with stream:
        try:
            while (arrived := await _next(http, stream)) is not None:
                await _send(http, stream, await answer(arrived))
                if http.our_state is not h11.DONE:
                    return
                http.start_next_cycle()
        except (trio.BrokenResourceError, h11.ProtocolError):
            return  # it has gone, or does not speak HTTP: nobody to tell


async def _next(http: h11.Connection, stream: trio.SocketStream) -> Arrived | None:
    """The next request, whole; None when there is none, or it is too slow or too long."""
    with trio.move_on_after(_REQUEST_SECONDS):
        request = await _event(http, stream)
        if not isinstance(request, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := await _event(http, stream), h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                return None
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        return Arrived(request.method.decode(), request.target.decode("latin-1"), headers, bytes(body))
    return None


async def _event(http: h11.Connection, stream: trio.SocketStream) -> h11.Event | None:
    """None where the client waits for an answer before it goes on."""
    while (event := http.next_event()) is h11.NEED_DATA:
        if http.they_are_waiting_for_100_continue:
            await stream.send_all(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        http.receive_data(await stream.receive_some(_PIECE))
    return event if isinstance(event, h11.Event) else None


async def _send(http: h11.Connection, stream: trio.SocketStream, status: int) -> None:
    response = h11.Response(status_code=status, headers=[("content-length", "0")])
    await stream.send_all((http.send(response) or b"") + (http.send(h11.EndOfMessage()) or b""))
