"""The runner that delivers webhooks: build, sign, guard, send, judge."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache

from aq.delivery.addresses import Guard, Network
from aq.delivery.connect import Connector, Resolver, SystemResolver, blocked, default_ssl_context
from aq.delivery.judge import judge
from aq.delivery.protocol import Delivery, DeliveryError, Transport, WebhookRequest
from aq.delivery.signing import Secret, parse_secrets, sign
from aq.delivery.transport import PoolTransport
from aq.instants import SECOND, Instant
from aq.outcome import Outcome
from aq.target import Target, parse_target
from aq.task import Method
from aq.version import __version__

USER_AGENT = f"AsyncQueue/{__version__}"


class WebhookRunner:
    """A `Runner` that asks the task's URL by the task's method, with our headers first and then the task's.

    A queue's own secrets sign in place of ``secrets``. ``now`` is the wall clock, for receivers check a
    signature's time by theirs. It sets no time-out: whoever calls it cancels it when the attempt's time is
    over. Answers are asked for uncompressed, unless the task says by itself what it accepts.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        guard: Guard,
        secrets: Sequence[Secret],
        now: Callable[[], Instant],
    ) -> None:
        self._transport = transport
        self.guard = guard
        self._secrets = secrets
        self._now = now

    async def __call__(self, delivery: Delivery) -> Outcome:
        """Every failure of the delivery is an Outcome. Raises ValueError for a URL that is not one."""
        target = parse_target(delivery.webhook_url)
        try:
            self._check(target)
            response = await self._transport.send(self._request(delivery, target))
        except DeliveryError as error:
            return Outcome(
                status=error.attempt_status,
                error_type=error.error_type,
                error=str(error),
                timing=error.timing,
            )
        return judge(response, self._now())

    def _check(self, target: Target) -> None:
        """What shows in the URL, whatever the transport; it may have been allowed at the task's creation."""
        what = self.guard.refusal_at_creation(target)
        if what is not None:
            raise blocked(target.destination, what)

    def _request(self, delivery: Delivery, target: Target) -> WebhookRequest:
        body = body_of(delivery)
        secrets = self._secrets if delivery.signing_secrets is None else _parsed(delivery.signing_secrets)
        headers = [("user-agent", USER_AGENT)]
        if delivery.method is not Method.GET:
            headers.append(("content-type", "application/json"))
        if not delivery.headers or "accept-encoding" not in dict(delivery.headers):
            headers.append(("accept-encoding", "identity"))
        headers += sign(secrets, delivery.task_id, self._now() // SECOND, body)
        if delivery.traceparent is not None:
            headers.append(("traceparent", delivery.traceparent))
            if delivery.tracestate is not None:
                headers.append(("tracestate", delivery.tracestate))
        headers += delivery.headers
        return WebhookRequest(delivery.method, target, headers, body, delivery.stopwatch)


@lru_cache(maxsize=1_024)
def _parsed(secrets: tuple[str, ...]) -> tuple[Secret, ...]:
    """Raises ValueError, without quoting any; also where there are none, for then nothing would be signed."""
    return parse_secrets(",".join(secrets))


def body_of(delivery: Delivery) -> bytes:
    """``{"task_id", "queue", "payload", "attempt"}``, the payload byte for byte as the client wrote it.

    Nothing for a GET; for a callback the payload itself. Ids and queue names are made of characters that
    JSON need not escape.
    """
    if delivery.method is Method.GET:
        return b""
    if delivery.tells_of is not None:
        return delivery.payload
    return b'{"task_id":"%b","queue":"%b","payload":%b,"attempt":%d}' % (
        delivery.task_id.encode(),
        delivery.queue.name.encode(),
        delivery.payload,
        delivery.attempt,
    )


@asynccontextmanager
async def open_webhook_runner(
    *,
    secrets: Sequence[Secret],
    now: Callable[[], Instant],
    allow: Iterable[str | Network] = (),
    transport: Transport | None = None,
    resolver: Resolver | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[WebhookRunner]:
    """The runner for an engine; at the end its transport is closed, a given one too.

    ``allow`` opens networks (CIDR) that are closed by default. ``resolver`` and ``ssl_context`` are for the
    transport that is made when none is given. Raises ValueError for a wrong network.
    """
    guard = Guard(allow)
    if transport is None:
        transport = PoolTransport(
            Connector(guard, resolver or SystemResolver(), ssl_context or default_ssl_context())
        )
    try:
        yield WebhookRunner(transport=transport, guard=guard, secrets=secrets, now=now)
    finally:
        await transport.aclose()
