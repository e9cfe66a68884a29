"""``aq serve`` as a subprocess and within this process, and a webhook target that answers when told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import trio
from attrs import define, field, frozen

from aq.server import Settings, serve

SERVE = (sys.executable, "-m", "aq", "serve", "--port", "0")
KEY = "aq_live_" + "k" * 43
MOST_SECONDS: Final = 75
"""For a server and all that is done with it, on a machine that is busy: less than pytest's own patience."""


def client(url: str, key: str | None = KEY) -> httpx.AsyncClient:
    headers = {} if key is None else {"X-API-Key": key}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=MOST_SECONDS, trust_env=False)


@define
class Serving:
    """``said`` is what a server told its user so far."""

    said: str = ""

    @property
    def url(self) -> str:
        return str(re.findall(r"https?://\S+", self.said)[0])

    @property
    def key(self) -> str:
        """The key that it printed."""
        return str(re.findall(r"aq_live_\w+", self.said)[0])


@define(kw_only=True)
class Process(Serving):
    """A running ``aq serve``; ``logged`` is what it wrote to stderr so far."""

    process: trio.Process
    logged: str = ""
    changed: trio.Event = field(factory=trio.Event)

    async def until_said(self, text: str) -> None:
        while text not in self.said + self.logged:
            assert self.process.returncode is None, self.logged
            await self.changed.wait()

    async def pump(self, stream: trio.abc.ReceiveStream, name: str) -> None:
        async for data in stream:
            setattr(self, name, getattr(self, name) + data.decode())
            self._tell()
        self._tell()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


@asynccontextmanager
async def running(
    folder: Path, *args: str, command: Sequence[str] = SERVE, **env: str
) -> AsyncIterator[Process]:
    """``aq serve`` on a free port, or another that says "ready on"; ended by SIGTERM if the test has not."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AQ_")}
    started = await trio.lowlevel.open_process(
        [*command, *args],
        cwd=folder,
        env={**clean, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdout is not None
    assert started.stderr is not None
    process = Process(process=started)
    try:
        async with started.stdout, started.stderr, trio.open_nursery() as nursery:
            nursery.start_soon(process.pump, started.stdout, "said")
            nursery.start_soon(process.pump, started.stderr, "logged")
            with trio.fail_after(MOST_SECONDS):
                await process.until_said("ready on")
                yield process
                if started.returncode is None:
                    process.terminate()
                await started.wait()
    finally:
        if started.returncode is None:
            started.kill()
            with trio.CancelScope(shield=True):
                await started.wait()


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Serving]:
    """`serve` in this process, on a free port, ready. Ended by cancelling it."""
    said: list[str] = []
    ready = trio.Event()

    def say(text: str) -> None:
        said.append(text)
        ready.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, Settings(port=0, **settings), say)
        await ready.wait()
        yield Serving(said[0])
        nursery.cancel_scope.cancel()


@frozen
class Target:
    """A webhook target that holds every request until `go`, then answers 200."""

    url: str
    arrived: trio.Event
    go: trio.Event


@asynccontextmanager
async def holding_target() -> AsyncIterator[Target]:
    arrived, go = trio.Event(), trio.Event()

    async def hold(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            arrived.set()
            await go.wait()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, hold, 0)
        port = listeners[0].socket.getsockname()[1]
        yield Target(f"http://127.0.0.1:{port}/", arrived, go)
        nursery.cancel_scope.cancel()
