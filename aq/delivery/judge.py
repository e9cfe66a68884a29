"""What an answer means. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aq.delivery.protocol import KEPT_BYTES, KEPT_SUCCESS_BYTES, WebhookResponse
from aq.instants import Instant
from aq.lifecycle import MAX_RETRY_AFTER
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.retry_after import seconds_of

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_LOCATION_SHOWN: Final = 200


def judge(response: WebhookResponse, now: Instant) -> Outcome:
    """2xx is success, everything else a failure with its kind and a line for people.

    Redirects are not followed: a webhook goes where its task says, and nowhere else. ``now`` (wall clock) is
    what a Retry-After date counts from.
    """
    if 200 <= response.status <= 299:
        return Outcome(
            status=AttemptStatus.SUCCESS,
            response_code=response.status,
            response_body=response.body[:KEPT_SUCCESS_BYTES],
            timing=response.timing,
        )
    return Outcome(
        status=AttemptStatus.FAILURE,
        error_type=_kind(response.status),
        error=_told(response),
        response_code=response.status,
        response_body=response.body[:KEPT_BYTES],
        retry_after=_retry_after(response, now),
        timing=response.timing,
    )


def _kind(status: int) -> ErrorType:
    """The kind of a failure. A status outside 200-599 counts as a 5xx, as RFC 9110, section 15, asks."""
    if status == HTTPStatus.GONE:
        return ErrorType.GONE
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ErrorType.HTTP_429
    if 300 <= status <= 399:
        return ErrorType.REDIRECT
    return ErrorType.HTTP_4XX if 400 <= status <= 499 else ErrorType.HTTP_5XX


def _told(response: WebhookResponse) -> str:
    told = f"answered {response.status} {_PHRASES.get(response.status, '')}".rstrip()
    if response.status == HTTPStatus.GONE:
        return f"{told}: the receiver wants no more attempts"
    if 300 <= response.status <= 399:
        return f"{told}{_where_to(response)}: redirects are not followed, use the final URL as webhook_url"
    return told


def _where_to(response: WebhookResponse) -> str:
    location = response.header("location") or ""
    shown = "".join(character for character in location[:_LOCATION_SHOWN] if character.isprintable())
    return f" to {shown}" if shown else ""


def _retry_after(response: WebhookResponse, now: Instant) -> float | None:
    """The wish of a 429 or 503 in seconds, at most a day; None without a sensible one (RFC 9110, 10.2.3)."""
    if response.status not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return None
    seconds = seconds_of(response.header("retry-after") or "", now)
    return None if seconds is None else min(seconds, float(MAX_RETRY_AFTER))
