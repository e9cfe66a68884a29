"""What both clients do, without any I/O: a call, and its retries, as a generator of steps.

A *flow* yields what is to be done next, a `Send` or a `Sleep`, and is sent what came of it; an exchange that
broke is thrown into it. `aq.client.drivers` does the steps, in a thread or in an event loop.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Generator, Mapping
from itertools import count
from typing import Any, Final, TypeAlias, TypeVar

from attrs import field, frozen

from aq.client.call import Call, Reply, error_of
from aq.client.errors import (
    CERTAINLY_NOT_DONE,
    MAYBE_DONE,
    APIError,
    ConnectionFailed,
    NotFound,
    TimedOut,
)
from aq.version import __version__

T = TypeVar("T")
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 8.0
LONGEST_RETRY_AFTER: Final = 120.0
"""Who is asked to wait for longer is told so instead."""
logger = logging.getLogger("aq.client")


@frozen
class Request:
    """What goes over the wire. Its headers hold the key, so they are in no repr."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


@frozen
class Send:
    """Send a request and read its whole reply, within so many seconds. Gives a `Reply`.

    Raises ConnectionFailed, TimedOut.
    """

    request: Request
    timeout: float


@frozen
class Sleep:
    """Let so many seconds pass."""

    seconds: float


@frozen
class Open:
    """Send a request and leave its reply open, to be read as it comes: within ``timeout`` seconds, and then
    with no more than ``silence`` between its pieces. Gives a `Reply`, with a body only where it is no 200.

    Raises ConnectionFailed, TimedOut.
    """

    request: Request
    timeout: float
    silence: float


@frozen
class Read:
    """Read on in what is open. Gives bytes, none at its end. Raises ConnectionFailed, TimedOut."""


Step: TypeAlias = Send | Sleep
StreamStep: TypeAlias = Open | Read | Sleep
Flow: TypeAlias = Generator[Step, Any, T]
"""The steps of one call; returns its result."""


@frozen(kw_only=True)
class Core:
    """Where requests go and how long they are tried.

    One try has ``timeout`` seconds, all of them with the waits between have ``deadline``. ``clock`` is
    monotonic, in seconds; ``chance`` returns a number in [0, 1).
    """

    base_url: str
    api_key: str | None = field(repr=False)
    timeout: float
    deadline: float
    max_retries: int
    clock: Callable[[], float]
    chance: Callable[[], float] = random.random

    def do(self, call: Call[T]) -> Flow[T]:
        """A call: sent, and sent again where that is safe and may help. Raises APIError."""
        request, unsure = self.request(call), False
        ends_at = self.clock() + self.deadline + call.holds
        for tries in count(1):
            try:
                reply: Reply = yield Send(request, min(self.timeout + call.holds, ends_at - self.clock()))
            except (ConnectionFailed, TimedOut) as broken:
                error: APIError = broken
            else:
                if 200 <= reply.status < 300 or reply.status in call.accepts:
                    return call.read(reply)
                error = error_of(reply)
            if unsure and call.gone_is_done and isinstance(error, NotFound):
                return call.read(reply)
            error.idempotency_key = call.key
            certain = not maybe_done(error)
            wait = self._wait(tries, error) if worth_a_retry(error) and (certain or call.repeatable) else None
            if wait is None or self.clock() + wait >= ends_at:
                raise error
            unsure = unsure or not certain
            place = call.path.partition("?")[0]  # what a list is filtered by is in no log
            logger.info("%s %s again in %.1f s: %s", call.method, place, wait, error)
            yield Sleep(wait)
        raise AssertionError("tries have no end")

    def request(self, call: Call[Any]) -> Request:
        """Raises ValueError for what cannot be a header."""
        traceparent, tracestate = call.trace
        headers = {
            "Accept": "application/json",
            "User-Agent": f"asyncqueue-python/{__version__}",
            "Authorization": None if self.api_key is None else f"Bearer {self.api_key}",
            "Content-Type": None if call.body is None else "application/json",
            "Idempotency-Key": call.key,
            "traceparent": traceparent,
            "tracestate": tracestate,
        }
        given = {name: value for name, value in headers.items() if value is not None}
        for name, value in given.items():
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"{name} must be printable ASCII")
        return Request(call.method, self.base_url + call.path, given, call.body)

    def backoff(self, tries: int) -> float:
        """Seconds to wait after so many tries: full jitter, so that many clients do not come back as one."""
        return self.chance() * min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 10))

    def _wait(self, tries: int, error: APIError) -> float | None:
        """Seconds until the next try; None when there is to be none."""
        asked = error.retry_after or 0.0
        return (
            None if tries > self.max_retries or asked > LONGEST_RETRY_AFTER else asked + self.backoff(tries)
        )


def worth_a_retry(error: APIError) -> bool:
    """Whether the same request may fare better later."""
    if isinstance(error, ConnectionFailed | TimedOut):
        return True
    return error.status in CERTAINLY_NOT_DONE or error.status in MAYBE_DONE


def maybe_done(error: APIError) -> bool:
    """Whether the service may have done what the request asked for."""
    if isinstance(error, ConnectionFailed):
        return error.sent
    return isinstance(error, TimedOut) or error.status in MAYBE_DONE
