"""The clients of ``make kill9`` ask a server that answers, and write down what it owed them."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from benchmarks.kill9.clients import follow
from benchmarks.kill9.ledger import Life
from benchmarks.kill9.lives import Lives

OPEN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nevent: task.created\n\n"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def test_no_life_is_asked_before_it_answers(tmp_path: Path) -> None:
    for _ in range(20):  # in which order tasks run that are awake at once is chance
        lives, asked = Lives(str(tmp_path), [Life(0)]), list[Life]()
        lives.alive.set()

        async def ask(lives: Lives, asked: list[Life]) -> None:
            asked.append(await lives.answering())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, lives, asked)
            await trio.lowlevel.checkpoint()
            lives.alive = trio.Event()
            lives.written.append(Life(1))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert lives.now not in asked


@pytest.mark.parametrize(
    ("answer", "later", "kept"),
    [
        (OPEN, 60, [False]),
        (OPEN + b"event: end\n\n", 60, [True]),
        (REFUSED, -60, []),  # it came after the SIGTERM
    ],
    ids=["cut", "ended", "refused"],
)
async def test_what_a_stream_was_owed(tmp_path: Path, answer: bytes, later: float, kept: list[bool]) -> None:
    """The SIGTERM is so many seconds later than the request."""
    lives, life = Lives(str(tmp_path), []), Life(0)

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            life.told = time.time() + later
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        port = int(lives.url.rpartition(":")[2])
        await nursery.start(partial(trio.serve_tcp, serve, port, host="127.0.0.1"))
        await follow(lives, life)
        nursery.cancel_scope.cancel()
    assert life.streams == kept
