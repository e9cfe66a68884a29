"""Numbers, spans and instants as people read them: the filters of the templates. Pure.

Instants come as the API's RFC 3339 texts, spans in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from markupsafe import Markup

from aq.instants import SECOND, Instant, from_datetime

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def count(number: int) -> str:
    """``1,204``."""
    return f"{number:,}"


def span(seconds: float) -> str:
    """``12 ms``, ``4.2 s``, ``3 min 5 s``, ``2 h``, ``14 d``: at most two units."""
    if seconds <= 0:
        return "0 s"
    if seconds < 0.9995:
        return f"{max(1, round(seconds * 1_000))} ms"
    if seconds < 59.5:
        return f"{seconds:.1f} s".replace(".0 ", " ") if seconds < 9.95 else f"{seconds:.0f} s"
    whole = round(seconds)
    for number, (size, name) in enumerate(_UNITS):
        if whole >= size:
            small, small_name = (_UNITS[number + 1]) if number < len(_UNITS) - 1 else (1, "s")
            rest = whole % size // small
            return f"{whole // size:,} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def rate(per_second: float) -> str:
    """``12.3/s``; slow ones ``4.2/min``."""
    if per_second == 0:
        return "0"
    if per_second >= 1:
        return f"{per_second:,.1f}/s" if per_second < 100 else f"{per_second:,.0f}/s"
    return f"{per_second * 60:.1f}/min"


def when(text: str, now: Instant) -> Markup:
    """A ``<time>``: relative words, the instant itself in its title."""
    at = from_datetime(datetime.fromisoformat(text))
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        text, text[:19].replace("T", " "), relative(at, now)
    )


def at(text: str) -> str:
    """``24 Nov 2026 18:05:09 UTC``."""
    return f"{datetime.fromisoformat(text):%-d %b %Y %H:%M:%S} UTC"


def relative(at: Instant, now: Instant) -> str:
    """``just now``, ``3 min ago``, ``in 2 h``: one unit."""
    seconds = abs(at - now) / SECOND
    if seconds < 1:
        return "just now"
    size, name = next(((size, name) for size, name in _UNITS if seconds >= size), (1, "s"))
    told = f"{int(seconds // size):,} {name}"
    return f"in {told}" if at > now else f"{told} ago"


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "count": count,
    "span": span,
    "rate": rate,
    "when": when,
    "at": at,
}
