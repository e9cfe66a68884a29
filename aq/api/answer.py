"""An answer before any server has written it, and as the front room writes it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from attrs import frozen
from quart import Response


@frozen
class Answer:
    """``headers`` has the content type, and neither length nor date."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def response(self) -> Response:
        """For Quart to send."""
        return Response(self.body, status=self.status, headers=dict(self.headers))

    def head(self, more: Mapping[str, str] | None = None, *, last: bool) -> bytes:
        """Status line and headers for HTTP/1.1; ``last`` if the connection is closed behind the answer."""
        lines = {
            **self.headers,
            **(more or {}),
            "Content-Length": len(self.body),
            "Date": _date(int(time.time())),
        }
        if last:
            lines["Connection"] = "close"
        told = "".join(f"{name.lower()}: {value}\r\n" for name, value in lines.items())
        return f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n{told}\r\n".encode("ascii")


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
