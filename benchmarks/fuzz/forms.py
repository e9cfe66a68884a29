"""Valid requests of every operation that a server's OpenAPI document describes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Final

from attrs import define, frozen

NOWHERE: Final = "http://127.0.0.1:9/x"
"""Nobody listens there."""
DOOMED: Final = "doomed"
"""The queue that requests which name a queue in their path are about: it may be purged and deleted."""
_SAFE: Final[Mapping[str, Any]] = {"webhook_url": NOWHERE, "callback_url": NOWHERE, "delay": 86_400}
"""Nothing that is made shall become due during a run."""
_TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@define
class Request:
    """One request before it is put on the wire; ``body`` None where there is none."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes | None
    chunked: bool = False
    version: str = "1.1"

    def wire(self, random: Random) -> bytes:
        """As bytes, the body with its length, or in chunks of any size."""
        headers, body = list(self.headers), self.body
        if body is not None and self.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
            body = b"".join(_chunks(body, random))
        elif body is not None:
            headers.append(("Content-Length", str(len(body))))
        lines = [f"{self.method} {self.target} HTTP/{self.version}", *(f"{k}: {v}" for k, v in headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


@frozen
class Form:
    """What one operation takes. ``fields`` are the schemas of its body's members, ``query`` of parameters."""

    method: str
    path: str
    query: Mapping[str, Mapping[str, Any]]
    headers: tuple[str, ...]
    example: Any
    fields: Mapping[str, Mapping[str, Any]]

    @property
    def endless(self) -> bool:
        """Its answer does not end by itself."""
        return self.path == "/v1/events"

    def request(self, random: Random, names: Mapping[str, list[str]], key: str) -> Request:
        """One that is valid, as far as an operation can be without knowing the state of the server.

        ``names`` has what a path may name, by parameter.
        """
        path = re.sub(r"{(\w+)}", lambda it: random.choice(names[it[1]]), self.path)
        headers = [("Host", "127.0.0.1"), ("Authorization", f"Bearer {key}")]
        if "Idempotency-Key" in self.headers and random.random() < 0.2:
            headers.append(("Idempotency-Key", f"fuzz-{random.randrange(1 << 40)}"))
        if "traceparent" in self.headers and random.random() < 0.2:
            headers.append(("traceparent", _TRACE))
        if self.example is None:
            return Request(self.method, path, headers, None)
        headers.append(("Content-Type", "application/json"))
        return Request(self.method, path, headers, json.dumps(self.example).encode())


def forms(document: Mapping[str, Any]) -> list[Form]:
    """One for each operation."""
    return list(_forms(document))


def _forms(document: Mapping[str, Any]) -> Iterator[Form]:
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, it in operations.items():
            content = it.get("requestBody", {}).get("content", {}).get("application/json", {})
            name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            yield Form(
                method=method.upper(),
                path=path,
                query={p["name"]: p["schema"] for p in it["parameters"] if p["in"] == "query"},
                headers=tuple(p["name"] for p in it["parameters"] if p["in"] == "header"),
                example=_tamed(content["example"]) if content else None,
                fields=schemas[name]["properties"] if name else {},
            )


def _tamed(example: Any) -> Any:
    """The example with addresses on this machine and times that do not come."""
    if isinstance(example, dict):
        return {name: _SAFE.get(name, _tamed(value)) for name, value in example.items()}
    return [_tamed(item) for item in example] if isinstance(example, list) else example


def _chunks(body: bytes, random: Random) -> Iterator[bytes]:
    while body:
        size = random.randrange(1, len(body) + 1)
        yield b"%x\r\n%b\r\n" % (size, body[:size])
        body = body[size:]
    yield b"0\r\n\r\n"
