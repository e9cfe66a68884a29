"""A Trio stream and httptools: reads a request as any server must, head and body, and sends the body back.

python -m benchmarks.ceilings.bare       prints its port, then serves until it is ended

`serve` is the bare door for the other programs here too: what is done with a request is given to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import httptools
import trio

Handler: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""What to answer to a body."""
_ANSWER = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class _Request:
    def __init__(self) -> None:
        self.url, self.body, self.headers, self.whole = b"", b"", list[tuple[bytes, bytes]](), False

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole = True


async def serve(handle: Handler) -> None:
    async def connection(stream: trio.SocketStream) -> None:
        async with stream:
            request = _Request()
            parser = httptools.HttpRequestParser(request)
            async for data in stream:
                parser.feed_data(data)
                if request.whole:  # clients here send one request at a time
                    answer = await handle(request.body)
                    await stream.send_all(_ANSWER % (len(answer), answer))
                    request = _Request()
                    parser = httptools.HttpRequestParser(request)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(connection, listeners)


async def echo(body: bytes) -> bytes:
    return body


if __name__ == "__main__":
    trio.run(serve, echo)
