"""What a runner says of one attempt. Pure."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


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


@frozen(kw_only=True)
class Outcome:
    """One attempt's end. ``retry_after`` is the receiver's wish in seconds; ``response_body`` is capped."""

    status: AttemptStatus
    error_type: ErrorType | None = None
    error: str | None = None
    response_code: int | None = None
    response_body: bytes | None = None
    retry_after: float | None = None
    timing: Timing | None = None

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
