"""Where `aq serve --otel` sends its spans: to a collector over OTLP, as OpenTelemetry's own variables say."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from aq.telemetry.tracing import OtelTracer
from aq.version import __version__


@asynccontextmanager
async def open_exporter(seconds: float) -> AsyncIterator[OtelTracer]:
    """Spans are sent by a thread of their own; at the end those that are left have so long to go out.

    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME (``asyncqueue`` without it), OTEL_TRACES_SAMPLER and the
    others are the SDK's.
    """
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "asyncqueue"}
    provider = TracerProvider(
        resource=Resource.create({**named, SERVICE_VERSION: __version__}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield OtelTracer(provider)
    finally:
        with trio.move_on_after(seconds, shield=True):
            await trio.to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)
