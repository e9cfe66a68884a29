"""A server for the browser to look at, in a process of its own: Playwright has this thread for itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from attrs import frozen

from tests.server.serve_world import SERVE


@frozen
class Served:
    """A running ``aq serve --dev``, and a client of its API that may do everything."""

    url: str
    key: str
    api: httpx.Client
    pid: int

    def post(self, path: str, body: Any = None) -> Any:
        """What a good request is answered; path below ``/v1``."""
        answer = self.api.post(f"/v1{path}", json={} if body is None else body)
        assert answer.is_success, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        answer = self.api.get(f"/v1{path}")
        assert answer.is_success, answer.text
        return answer.json()

    def task(self, queue: str, webhook_url: str, **fields: Any) -> str:
        """The id of a new one."""
        made = self.post("/tasks", {"queue": queue, "webhook_url": webhook_url, **fields})
        return str(made["id"])

    def ended(self, task_id: str) -> Any:
        """The task once it is completed or failed."""
        task = self.get(f"/tasks/{task_id}?wait=20")
        assert task["status"] in ("completed", "failed"), task
        return task


@contextmanager
def serving(folder: Path, storage: str = "memory:", **env: str) -> Iterator[Served]:
    """On a free port, ready; ended by SIGTERM. What it logs is in ``folder``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AQ_")}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            (*SERVE, "--dev", "--storage", storage, "--grace", "0"),
            cwd=folder,
            env={**clean, **env},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            url, key = _told(process.stdout, folder)
            with httpx.Client(base_url=url, headers={"X-API-Key": key}, trust_env=False, timeout=30) as api:
                yield Served(url, key, api, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def _told(lines: Iterator[str], folder: Path) -> tuple[str, str]:
    """Its address and its key, once it has told them."""
    said = ""
    for line in lines:
        said += line
        urls, keys = re.findall(r"ready on (http://\S+)", said), re.findall(r"aq_live_\w+", said)
        if urls and keys:
            return urls[0], keys[0]
    raise AssertionError((folder / "log").read_text())
