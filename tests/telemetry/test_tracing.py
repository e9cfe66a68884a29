"""Spans, and the places in traces that tasks and webhooks carry."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode, get_current_span

from aq.delivery.protocol import Delivery
from aq.errors import DrainingError, ValidationError
from aq.opening import open_engine
from aq.outcome import AttemptStatus, Outcome
from aq.storage.memory import MemoryStorage
from aq.task import NewTask, TraceContext
from aq.telemetry import tracing
from aq.telemetry.tracing import OtelTracer
from tests.delivery.receiver import OK, answering, serve
from tests.engine.support import (
    BACK,
    FAILURE,
    SUCCESS,
    URL,
    Gate,
    Receiver,
    settled,
    submit,
    submit_many,
    until_killed,
    up,
    wait_for,
)

CAME = TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1,b=2")
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


class Spans:
    """A provider that keeps what has ended."""

    def __init__(self, **options: Any) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False, **options)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.tracer = OtelTracer(provider)

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._kept.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]


@pytest.fixture
def spans() -> Spans:
    return Spans()


def place(span: ReadableSpan) -> tuple[int, int]:
    context = span.context
    assert context is not None
    return context.trace_id, context.span_id


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def told(delivery: Delivery) -> tuple[int, int]:
    """The place that a receiver is told."""
    assert delivery.traceparent is not None
    _, trace_id, span_id, _ = delivery.traceparent.split("-")
    return int(trace_id, 16), int(span_id, 16)


# -- what is made -------------------------------------------------------------------------------------------
async def test_a_task_is_created_within_its_callers_trace_and_delivered_within_it(
    autojump_clock: object, spans: Spans
) -> None:
    receiver = Receiver(lambda delivery: Outcome(status=AttemptStatus.SUCCESS, response_code=204))
    async with up(runner=receiver, tracer=spans.tracer) as engine:
        new = NewTask("mail", "https://user.example:8443/hook/SECRET?token=SECRET", {"a": "SECRET"}, delay=2)
        task = await engine.submit(new, trace=CAME)
        await wait_for(engine, [task])
    create, deliver = spans.all
    assert (create.name, create.kind, parent(create)) == ("create mail", SpanKind.PRODUCER, (TRACE, SPAN))
    assert dict(create.attributes or {}) == {
        "messaging.system": "asyncqueue",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "mail",
        "messaging.message.id": task.id,
    }
    assert (deliver.name, deliver.kind, parent(deliver)) == ("deliver mail", SpanKind.CLIENT, place(create))
    assert dict(deliver.attributes or {}) == {
        "messaging.system": "asyncqueue",
        "messaging.operation.name": "deliver",
        "messaging.destination.name": "mail",
        "messaging.message.id": task.id,
        "http.request.method": "POST",
        "http.response.status_code": 204,
        "server.address": "user.example",
        "server.port": 8443,
        "aq.attempt": 1,
        "aq.lateness_ms": 0.0,
        "aq.outcome": "success",
    }
    assert links(deliver) == [place(create)]
    assert {span.status.status_code for span in spans.all} == {StatusCode.UNSET}
    (delivery,) = receiver.seen
    assert told(delivery) == place(deliver)
    assert delivery.tracestate == CAME.tracestate
    assert "SECRET" not in "".join(span.to_json() for span in spans.all)


async def test_each_attempt_links_to_the_one_before_it(autojump_clock: object, spans: Spans) -> None:
    """Two within a minute of the creation and so its children, the third later, in a trace of its own."""
    outcomes = [FAILURE, FAILURE, SUCCESS]
    receiver = Receiver(lambda delivery: outcomes[delivery.attempt - 1])
    async with up(runner=receiver, tracer=spans.tracer) as engine:
        await engine.queues.create("q", retry_delay=40, retry_backoff="fixed", retry_jitter=0)
        task = await engine.submit(NewTask("q", URL), trace=CAME)
        await wait_for(engine, [task])
    (create,) = spans.named("create q")
    first, second, third = spans.named("deliver q")
    assert [parent(first), parent(second), parent(third)] == [place(create), place(create), None]
    assert place(third)[0] not in (TRACE, place(first)[0])
    assert links(first) == [place(create)]
    assert links(second) == [place(create), place(first)]
    assert links(third) == [place(create), place(second)]
    of = [dict(span.attributes or {}) for span in (first, second, third)]
    assert [it.get("http.request.resend_count") for it in of] == [None, 1, 2]
    assert [it.get("error.type") for it in of] == ["unknown", "unknown", None]
    failed = [span.status.status_code is StatusCode.ERROR for span in (first, second, third)]
    assert failed == [True, True, False]
    assert [told(delivery) for delivery in receiver.seen] == [place(span) for span in (first, second, third)]


async def test_a_timeout_and_a_crash_of_the_runner_are_told_by_their_type(
    autojump_clock: object, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(delivery: Delivery) -> Outcome:
        if delivery.json():
            raise RuntimeError("SECRET")
        await trio.sleep_forever()
        raise AssertionError

    async with up(runner=run, tracer=spans.tracer) as engine:
        tasks = [await submit(engine, payload=it, max_retries=0, timeout=3) for it in ({}, {"crash": 1})]
        await wait_for(engine, tasks)
    of = {
        str(span.attributes["messaging.message.id"]): span
        for span in spans.named("deliver q")
        if span.attributes
    }
    assert [dict(of[task.id].attributes or {})["error.type"] for task in tasks] == ["timeout", "unknown"]
    assert "SECRET" not in "".join(span.to_json() for span in spans.all)


async def test_a_batch_is_one_span_that_all_its_tasks_come_from(autojump_clock: object, spans: Spans) -> None:
    receiver = Receiver()
    async with up(runner=receiver, tracer=spans.tracer) as engine:
        await wait_for(engine, await submit_many(engine, 3))
        other = [NewTask("a", URL), NewTask("b", URL)]
        await wait_for(engine, [it.task for it in (await engine.submit_all(other)).value])
    (batch,), (mixed,) = spans.named("create q"), spans.named("create")
    assert dict(batch.attributes or {})["messaging.batch.message_count"] == 3
    assert dict(mixed.attributes or {})["messaging.batch.message_count"] == 2
    assert [parent(span) for span in spans.named("deliver q")] == [place(batch)] * 3
    assert [parent(*spans.named(f"deliver {name}")) for name in "ab"] == [place(mixed)] * 2


async def test_callbacks_belong_to_the_trace_of_their_task(autojump_clock: object, spans: Spans) -> None:
    async with up(tracer=spans.tracer) as engine:
        await wait_for(engine, [await submit(engine, callback_url=BACK)])
        await settled()
    create, deliver, callback = spans.all
    assert (callback.attributes or {})["server.address"] == "back.example"
    assert parent(deliver) == parent(callback) == place(create)


async def test_what_is_refused_is_an_error_of_its_creation(autojump_clock: object, spans: Spans) -> None:
    async with up(tracer=spans.tracer) as engine:
        with pytest.raises(ValidationError):
            await engine.submit(NewTask("q", URL, delay=9, expires_in=3))
        engine.begin_drain()
        with pytest.raises(DrainingError):
            await submit_many(engine, 2)
    assert [(dict(it.attributes or {})["error.type"], it.status.status_code) for it in spans.all] == [
        ("ValidationError", StatusCode.ERROR),
        ("DrainingError", StatusCode.ERROR),
    ]


async def test_spans_of_a_runner_are_within_the_attempts_and_no_others(
    autojump_clock: object, spans: Spans
) -> None:
    """What was current when the engine was opened, or when a task was submitted, is nobody's parent later."""
    within: list[tuple[int, int]] = []

    async def run(delivery: Delivery) -> Outcome:
        context = get_current_span().get_span_context()
        within.append((context.trace_id, context.span_id))
        return SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("app").start_as_current_span("app") as app:
        async with up(runner=run, tracer=spans.tracer) as engine:
            task = await submit(engine, delay=100)
            await wait_for(engine, [task])
    (create,), (deliver,) = spans.named("create q"), spans.named("deliver q")
    assert within == [place(deliver)]
    assert parent(create) == (app.get_span_context().trace_id, app.get_span_context().span_id)
    assert parent(deliver) is None


# -- bounds -------------------------------------------------------------------------------------------------
async def test_only_so_many_failed_attempts_are_remembered(
    autojump_clock: object, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "REMEMBERED", 2)
    async with up(runner=Receiver(lambda delivery: FAILURE), tracer=spans.tracer) as engine:
        await wait_for(engine, [await submit(engine, f"q{n}", max_retries=0) for n in range(5)])
    assert len(spans.tracer._failed) == 2


async def test_an_attempt_that_is_cut_short_has_a_span_and_its_repetition_goes_on(
    autojump_clock: object, spans: Spans
) -> None:
    storage = MemoryStorage()
    async with until_killed(storage, Gate(), tracer=spans.tracer) as engine:
        task = await submit(engine)
        await settled()
    async with up(storage, tracer=spans.tracer) as engine:
        await wait_for(engine, [task])
    (create,) = spans.named("create q")
    cut, again = spans.named("deliver q")
    assert "aq.outcome" not in (cut.attributes or {})
    assert parent(cut) == parent(again) == place(create)


async def test_what_is_not_sampled_is_passed_on_as_that(autojump_clock: object) -> None:
    spans, receiver = Spans(sampler=ParentBased(ALWAYS_OFF)), Receiver()
    async with up(runner=receiver, tracer=spans.tracer) as engine:
        await wait_for(engine, [await submit(engine)])
    assert spans.all == ()
    (delivery,) = receiver.seen
    assert delivery.traceparent is not None
    assert not int(delivery.traceparent[-2:], 16) & 1


@pytest.mark.parametrize("traced", [False, True])
async def test_without_spans_what_came_is_passed_on_as_it_is(autojump_clock: object, traced: bool) -> None:
    receiver = Receiver(lambda delivery: SUCCESS)
    tracer = OtelTracer(NoOpTracerProvider()) if traced else None
    async with up(runner=receiver, tracer=tracer) as engine:
        new = NewTask("q", URL, callback_url=BACK)
        tasks = [await engine.submit(new, trace=CAME)]
        tasks += [it.task for it in (await engine.submit_all([new], trace=CAME)).value]
        await wait_for(engine, [*tasks, await submit(engine)])
        await settled()
    came = [(it.traceparent, it.tracestate) for it in receiver.seen]
    assert sorted(came, key=str) == [CAME] * 4 + [(None, None)]


async def test_a_receiver_is_told_both(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK, OK))
    only_parent = TraceContext(CAME.traceparent)
    async with open_engine(allow=["127.0.0.0/8"]) as engine:
        for trace in (CAME, only_parent):
            await engine.wait((await engine.submit(NewTask("q", receiver.url), trace=trace)).id)
    both, one = receiver.requests
    assert (both.headers["traceparent"], both.headers["tracestate"]) == CAME
    assert (one.headers["traceparent"], one.headers.get("tracestate")) == only_parent
