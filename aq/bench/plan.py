"""What is sent: tasks that carry the moment they were meant for, so that a sink can tell their age."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

MARK: Final = '"at":"'
WIDTH: Final = 18
"""Characters of a moment: seconds of the monotonic clock, which the processes of one machine share."""


def stamp(at: float) -> str:
    return f"{at:0{WIDTH}.6f}"


@frozen(kw_only=True)
class Plan:
    """``batch`` tasks a request. ``rate`` is in requests a second over all connections (open loop); without
    it each connection sends its next request when the last is answered (closed loop). It ends after
    ``requests`` of them or after ``seconds``, whichever comes first. Another service can be sent a
    ``document`` of its own at its ``path``, with ``stamp(0)`` where the moment belongs.
    """

    url: str
    webhook_url: str
    key: str = ""
    queue: str = "bench"
    batch: int = 1
    delay: int = 0
    payload_bytes: int = 100
    connections: int = 32
    rate: float | None = None
    requests: int | None = None
    seconds: float | None = None
    path: str = ""
    document: dict[str, Any] | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def ssl(self) -> ssl.SSLContext | None:
        return ssl.create_default_context() if urlsplit(self.url).scheme == "https" else None

    def payload(self, at: str) -> dict[str, Any]:
        return {"at": at, "filler": "x" * max(0, self.payload_bytes - WIDTH - 22)}

    def task(self, at: str) -> dict[str, Any]:
        """The body of one POST."""
        fields = {"queue": self.queue, "webhook_url": self.webhook_url, "payload": self.payload(at)}
        return {**fields, "delay": self.delay} if self.delay else fields

    def request(self) -> Callable[[float], bytes]:
        """The bytes of a request that is meant to be sent at a moment."""
        path, document = "/v1/tasks", self.task(stamp(0))
        if self.document is not None:
            path, document = self.path, self.document
        elif self.batch > 1:
            path, document = "/v1/tasks/batch", {"tasks": [document] * self.batch}
        body = json.dumps(document, separators=(",", ":")).encode()
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {urlsplit(self.url).netloc}",
            f"Authorization: Bearer {self.key}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        pieces = ("\r\n".join([*lines, "", ""]).encode() + body).split(stamp(0).encode())
        return lambda at: stamp(at).encode().join(pieces)
