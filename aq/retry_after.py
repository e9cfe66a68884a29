"""What a Retry-After header asks for (RFC 9110, 10.2.3). Pure."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from aq.instants import SECOND, Instant, from_datetime

_DELAY_SECONDS = re.compile(r"[0-9]{1,18}")


def seconds_of(text: str, now: Instant) -> float | None:
    """Seconds from ``now`` on; None where the header says nothing sensible.

    It has seconds, or an HTTP-date in any of its three forms (5.6.7).
    """
    text = text.strip()
    seconds = float(text) if _DELAY_SECONDS.fullmatch(text) else _until(text, now)
    return seconds if seconds > 0 else None


def _until(date: str, now: Instant) -> float:
    try:
        moment = parsedate_to_datetime(date)
        return (from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now) / SECOND
    except (ValueError, OverflowError):
        return 0.0
