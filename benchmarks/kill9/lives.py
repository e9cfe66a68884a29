"""The server process: ``aq serve`` on one port and one database, one life after the other.

A life is forked off a process that has loaded everything already, so that it takes a moment to begin, and
what is hit while it begins is its opening rather than Python's imports. From there on it is ``aq serve`` like
any.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import httpx
import trio

from benchmarks.kill9.ledger import Death, Life
from benchmarks.server import until

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["aq.server", "aq.api.app", "aq.cli.serve"])
GRACE = 8
"""Seconds that attempts get after a SIGTERM: more than any takes."""


def _serve(arguments: list[str], key: str, log: str) -> None:
    """The child: its output goes into the log."""
    from aq.cli import main

    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["AQ_API_KEY"] = key
    main(["serve", *arguments])


class Lives:
    """``alive`` is set while a server answers; ``written`` are the lives so far."""

    def __init__(self, folder: str, written: list[Life]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.key = "aq_live_" + secrets.token_urlsafe(32)
        self.storage = f"sqlite:///{folder}/aq.db"
        self.log = Path(folder) / "server.log"
        self.alive = trio.Event()
        self.written = written
        self._arguments = ["--port", str(port), "--storage", self.storage, "--grace", str(GRACE)]
        self._process: ForkServerProcess | None = None

    @property
    def now(self) -> Life:
        """The life that is, or was the last."""
        return self.written[-1]

    async def answering(self) -> Life:
        """The life that answers requests, once one does; it has not ended when this returns."""
        while not self.alive.is_set():
            await self.alive.wait()
        return self.now  # not after a turn of the event loop, in which the next one may have begun

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"},
            trust_env=False,
            verify=False,
            timeout=30,
        )

    def begin(self) -> None:
        """Returns at once, long before it answers."""
        arguments = [*self._arguments, "--allow", "127.0.0.0/8"]
        self._process = _CONTEXT.Process(target=_serve, args=(arguments, self.key, str(self.log)))
        self.written.append(Life(time.time()))
        self._process.start()

    async def until_ready(self) -> None:
        """Until ``/readyz`` says so."""
        async with self.client() as client:
            with trio.fail_after(60):
                await until(lambda: _ready(client), every=0.005)
        self.now.ready = time.time()
        self.alive.set()

    async def end(self, death: Death) -> None:
        """Returns once the process is gone; by then `alive` is an event that is not set."""
        assert self._process is not None
        life, process = self.now, self._process
        life.death = death
        if death is Death.KILL:
            process.kill()
        else:
            life.told = time.time()
            process.terminate()
            if death is Death.TWICE:
                assert process.pid is not None
                os.kill(process.pid, signal.SIGINT)
        await trio.lowlevel.wait_readable(process.sentinel)
        process.join()
        self._process = None
        life.over, life.exit_code = time.time(), process.exitcode
        life.gone.set()
        if self.alive.is_set():
            self.alive = trio.Event()

    def destroy(self) -> None:
        """Leave no process behind, whatever happened."""
        if self._process is not None:
            self._process.kill()
            self._process.join()


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
