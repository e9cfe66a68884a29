"""Spans by OpenTelemetry's conventions for messaging: ``create`` for tasks, ``deliver`` for each attempt.

Needs the extra ``otel``; nothing imports this module before somebody wants spans.

Nothing in a span was written by a client or a receiver: names and numbers, and the host that was asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from attrs import frozen
from msgspec.structs import replace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from aq.actors.runner import run_attempt
from aq.delivery.protocol import Delivery, Runner
from aq.errors import AsyncQueueError
from aq.instants import SECOND
from aq.outcome import Outcome
from aq.target import parse_target
from aq.task import NewTask, Task, TraceContext
from aq.version import __version__

PARENT_SECONDS: Final = 60
"""An attempt that starts so soon after its task was made is a child of that; a later one begins a trace."""
REMEMBERED: Final = 10_000
"""Failed attempts that the next one can link to; beyond, the oldest are forgotten."""
_W3C: Final = TraceContextTextMapPropagator()
_SYSTEM: Final = {"messaging.system": "asyncqueue"}


@frozen
class _Creation:
    """`aq.actors.tracing.Creation`."""

    span: Span
    trace: TraceContext

    def made(self, tasks: Sequence[Task]) -> None:
        if len(tasks) == 1:
            self.span.set_attribute("messaging.message.id", tasks[0].id)


class OtelTracer:
    """`aq.actors.tracing.Tracer` on a provider of OpenTelemetry's, for one engine."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("aq", __version__)
        self._failed: OrderedDict[str, SpanContext] = OrderedDict()
        """The latest attempts of tasks that may have another one."""

    @contextmanager
    def creating(self, news: Sequence[NewTask], came: TraceContext) -> Iterator[_Creation]:
        """A batch is one span. Where nothing came, it is a child of what is current, in an embedding app."""
        queues = {new.queue for new in news}
        name, where = _named("create", queues.pop() if len(queues) == 1 else None)
        count = {} if len(news) == 1 else {"messaging.batch.message_count": len(news)}
        with self._tracer.start_as_current_span(
            name,
            None if came.traceparent is None else _context(came),
            SpanKind.PRODUCER,
            {**where, **count, "messaging.operation.type": "create"},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield _Creation(span, _written(span, came))
            except AsyncQueueError as error:
                _failed(span, type(error).__name__)
                raise

    async def attempt(self, runner: Runner, delivery: Delivery) -> Outcome:
        """What the runner does is within the span, for spans of its own."""
        came = TraceContext(delivery.traceparent, delivery.tracestate)
        span = self._begin(delivery, came)
        told = _written(span, came)
        delivery = replace(delivery, traceparent=told.traceparent, tracestate=told.tracestate)
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                outcome = await run_attempt(runner, delivery)
            self._end(span, delivery, outcome)
        finally:
            span.end()
        return outcome

    # -- within ---------------------------------------------------------------------------------------------
    def _begin(self, delivery: Delivery, came: TraceContext) -> Span:
        name, where = _named("deliver", delivery.queue.name)
        target = parse_target(delivery.webhook_url).destination
        repeated = {"http.request.resend_count": delivery.attempt - 1} if delivery.attempt > 1 else {}
        created = get_current_span(_context(came)).get_span_context()
        before = self._failed.pop(delivery.task_id, None)
        links = [Link(place) for place in (created, before) if place is not None and place.is_valid]
        age = delivery.started_at - (delivery.created_at or delivery.started_at)
        return self._tracer.start_span(
            name,
            _context(came) if age < PARENT_SECONDS * SECOND else Context(),
            SpanKind.CLIENT,
            {
                **where,
                **repeated,
                "messaging.message.id": delivery.task_id,
                "http.request.method": delivery.method.value,
                "server.address": target.host,
                "server.port": target.port,
                "aq.attempt": delivery.attempt,
                "aq.lateness_ms": (delivery.started_at - delivery.due_at) / 1_000,
            },
            links,
        )

    def _end(self, span: Span, delivery: Delivery, outcome: Outcome) -> None:
        span.set_attribute("aq.outcome", outcome.status.value)
        if outcome.response_code is not None:
            span.set_attribute("http.response.status_code", outcome.response_code)
        if outcome.succeeded:
            return
        _failed(span, str(outcome.error_type))
        self._failed[delivery.task_id] = span.get_span_context()
        if len(self._failed) > REMEMBERED:
            self._failed.popitem(last=False)


def _named(operation: str, queue: str | None) -> tuple[str, dict[str, str]]:
    """A span's name, and the attributes that say the same."""
    where = {**_SYSTEM, "messaging.operation.name": operation}
    if queue is None:
        return operation, where
    return f"{operation} {queue}", {**where, "messaging.destination.name": queue}


def _failed(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))


def _context(trace: TraceContext) -> Context:
    carrier = {"traceparent": trace.traceparent or "", "tracestate": trace.tracestate or ""}
    return _W3C.extract(carrier, Context())


def _written(span: Span, came: TraceContext) -> TraceContext:
    """The span's own place, to be passed on; what came, where the provider makes no spans."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span, Context()))
    if "traceparent" not in carrier:
        return came
    return TraceContext(carrier["traceparent"], carrier.get("tracestate"))
