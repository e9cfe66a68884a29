"""``aq serve`` as a subprocess on one port and one database, started as often as it is stopped or killed."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import trio


class Server:
    """Its log goes to ``server.log`` in ``directory``; webhooks may go to loopback. ``options`` are more."""

    def __init__(self, directory: str, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = "aq_live_" + secrets.token_urlsafe(32)
        self.directory = directory
        self.options = options
        self.process: subprocess.Popen[bytes]

    async def start(self) -> None:
        """Until ``/readyz`` says so."""
        self._launch()
        async with httpx.AsyncClient(trust_env=False) as client:
            with trio.fail_after(30):
                await until(lambda: self._ready(client))

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"},
            trust_env=False,
            timeout=10,
        )

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait()

    def _launch(self) -> None:
        command = ["serve", "--port", str(self.port), "--storage", f"sqlite:///{self.directory}/aq.db"]
        with (Path(self.directory) / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aq", *command, "--allow", "127.0.0.0/8", *self.options],
                env={**os.environ, "AQ_API_KEY": self.key},
                stdout=log,
                stderr=log,
            )

    async def _ready(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(self.url + "/readyz")).status_code == 200
        except httpx.TransportError:
            return False


async def until(condition: Callable[[], Awaitable[bool]], every: float = 0.02) -> None:
    """Ask another process again and again; there is no event to wait for across processes."""
    while not await condition():  # noqa: ASYNC110  # the other side is another process
        await trio.sleep(every)
