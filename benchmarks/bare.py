"""A Trio stream, a parser in C and a fixed answer, in a process of its own: what no door can be faster than.

python -m benchmarks.bare        prints its port, then serves until it is terminated
"""

from __future__ import annotations

import httptools
import trio

ANSWER = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Requests:
    """How many whole ones were not answered yet."""

    def __init__(self) -> None:
        self.whole = 0

    def on_message_complete(self) -> None:
        self.whole += 1


async def serve(stream: trio.SocketStream) -> None:
    requests = Requests()
    parser = httptools.HttpRequestParser(requests)
    async for data in stream:
        parser.feed_data(data)
        while requests.whole:
            requests.whole -= 1
            await stream.send_all(ANSWER)


async def main() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(serve, listeners)


if __name__ == "__main__":
    trio.run(main)
