"""The trace that a call belongs to: told by the caller, or the one of OpenTelemetry that he is in."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final, TypeAlias

Trace: TypeAlias = tuple[str | None, str | None]
"""``traceparent`` and ``tracestate`` (W3C Trace Context)."""
NO_TRACE: Final[Trace] = (None, None)


def trace(traceparent: str | None, tracestate: str | None) -> Trace:
    """As told; without that, of the span that is current in a program which uses OpenTelemetry."""
    if traceparent is not None or "opentelemetry.trace" not in sys.modules:
        return traceparent, tracestate
    carrier: dict[str, str] = {}
    import_module("opentelemetry.propagate").inject(carrier)
    return carrier.get("traceparent"), carrier.get("tracestate")
