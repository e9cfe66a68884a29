"""What a runner says of one attempt. Pure."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, Final

from attrs import field, frozen
from attrs.converters import optional

MAX_ERROR: Final = 1_000
MAX_BODY: Final = 16 << 10
_MOST_MS: Final = 1 << 53
_MOST_CODE: Final = 1 << 31


class AttemptStatus(StrEnum):
    """How an attempt ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    """The receiver answered, and not with a 2xx."""
    TIMEOUT = "timeout"
    ERROR = "error"
    """No answer: the network, TLS, DNS or the runner itself failed."""
    BLOCKED = "blocked"
    """The destination is not one a webhook may go to."""
    UNKNOWN = "unknown"
    """The process ended in mid-attempt: the receiver may or may not have done the work."""


class ErrorType(StrEnum):
    """The one closed list of reasons, the same in answers, filters, metrics, spans and logs."""

    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    HTTP_429 = "http_429"
    GONE = "gone"
    REDIRECT = "redirect"
    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    RESET = "reset"
    BLOCKED = "blocked"
    EXPIRED = "expired"
    TOO_LARGE = "too_large"
    UNKNOWN = "unknown"


@frozen
class Timing:
    """Where an attempt's time went, in whole milliseconds; None where the step did not happen."""

    dns: int | None = None
    connect: int | None = None
    tls: int | None = None
    ttfb: int | None = None
    total: int | None = None

    def __attrs_post_init__(self) -> None:
        for span in self.spans:  # validators of attrs would take five times as long, at every attempt
            if span is not None and (type(span) is not int or not 0 <= span < _MOST_MS):
                raise ValueError(f"a span must be whole milliseconds from 0, not {span!r}")

    @property
    def spans(self) -> tuple[int | None, ...]:
        """All of them, in order."""
        return self.dns, self.connect, self.tls, self.ttfb, self.total


def _printable(text: str | None) -> str | None:
    """At most `MAX_ERROR` characters that can be written as UTF-8 (a file name may hold what cannot)."""
    if text is None:
        return None
    return str(text)[:MAX_ERROR].encode("utf-8", "replace").decode()


def _cut(body: bytes | None) -> bytes | None:
    return None if body is None else bytes(memoryview(body)[:MAX_BODY])


# Plain functions: put together from those of attrs they would take four times as long, at every attempt.
def _code(instance: object, attribute: object, value: Any) -> None:
    if value is not None and not (isinstance(value, int) and 0 <= value < _MOST_CODE):
        raise ValueError(f"response_code must be a whole number from 0, not {value!r}")


def _timing(instance: object, attribute: object, value: Any) -> None:
    if value is not None and not isinstance(value, Timing):
        raise TypeError(f"timing must be a Timing, not {value!r}")


def _not_negative(instance: object, attribute: object, value: float | None) -> None:
    if value is not None and not 0 <= value < math.inf:
        raise ValueError(f"retry_after must be a number of seconds, not {value!r}")


@frozen(kw_only=True)
class Outcome:
    """One attempt's end; what a runner makes is always one that can be kept.

    ``retry_after`` is the receiver's wish in seconds. ``error`` and ``response_body`` are cut to `MAX_ERROR`
    characters and `MAX_BODY` bytes. Raises ValueError or TypeError for anything of another kind.
    """

    status: AttemptStatus = field(converter=AttemptStatus)
    error_type: ErrorType | None = field(default=None, converter=optional(ErrorType))
    error: str | None = field(default=None, converter=_printable)
    response_code: int | None = field(default=None, validator=_code)
    response_body: bytes | None = field(default=None, converter=_cut)
    retry_after: float | None = field(default=None, validator=_not_negative)
    timing: Timing | None = field(default=None, validator=_timing)

    @property
    def succeeded(self) -> bool:
        return self.status is AttemptStatus.SUCCESS

    @property
    def final(self) -> bool:
        """The receiver asked for no more attempts (410 Gone)."""
        return self.error_type is ErrorType.GONE

    @classmethod
    def success(cls) -> Outcome:
        """For runners of one's own: the work is done."""
        return cls(status=AttemptStatus.SUCCESS)

    @classmethod
    def failure(cls, error: str, *, retry_after: float | None = None) -> Outcome:
        """For runners of one's own: the work failed and is to be retried by the queue's policy."""
        return cls(
            status=AttemptStatus.FAILURE,
            error_type=ErrorType.UNKNOWN,
            error=error,
            retry_after=retry_after,
        )
