"""What several test files of the delivery begin with."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import trio

from aq.delivery.addresses import Guard
from aq.delivery.connect import Connector, Resolver, default_ssl_context
from aq.delivery.pool import Pool
from aq.delivery.protocol import WebhookRequest
from aq.delivery.transport import PoolTransport
from aq.delivery.wire import Connection
from aq.target import parse_target

LOOPBACK = ("127.0.0.0/8", "::1/128")


def post(url: str, body: bytes = b"{}") -> WebhookRequest:
    return WebhookRequest("POST", parse_target(url), [("content-type", "application/json")], body)


def request(method: str, url: str, body: bytes, *headers: tuple[str, str]) -> WebhookRequest:
    return WebhookRequest(method, parse_target(url), headers, body)


class Names:
    """A resolver that knows a few names. Each look-up takes the next list of addresses, the last for ever."""

    def __init__(self, **names: Sequence[Sequence[str]]) -> None:
        self._names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self._names.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]


@asynccontextmanager
async def open_transport(
    *,
    allow: Iterable[str] = LOOPBACK,
    resolver: Resolver | None = None,
    ssl_context: ssl.SSLContext | None = None,
    pool: Pool[Connection] | None = None,
    patience: float = 10,
) -> AsyncIterator[PoolTransport]:
    connector = Connector(Guard(allow), resolver or Names(), ssl_context or default_ssl_context())
    transport = PoolTransport(connector, pool)
    try:
        with trio.fail_after(patience):  # a fault must fail a test, not hang it
            yield transport
    finally:
        await transport.aclose()
