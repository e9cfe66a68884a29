"""``GET /v1/events``: what happens, as it happens, as Server-Sent Events.

A stream is a place in the engine's feed. Its client is cut off by `aq.api.connection` when it takes nothing,
and told ``dropped`` when it is slower than what happens. While nothing happens a stream costs one timer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from math import inf
from typing import Any, Final
from weakref import WeakSet

import msgspec
import trio
from attrs import field, frozen
from quart import Response, request
from quart_trio import QuartTrio

from aq.actors.feed import About, Ended, FeedEvent, Heard, Missed
from aq.api.auth import grant, told_of_revocation
from aq.api.openapi.operation import Answer, Header, Tag, operation
from aq.api.query import parameters
from aq.engine import Engine
from aq.errors import OverloadedError
from aq.ids import ALPHABET, LENGTH
from aq.instants import to_rfc3339
from aq.keys import Grant
from aq.rules import QUEUE_NAME, Rule, Text
from aq.task import QueueKey

MAX_STREAMS: Final = 1_000
"""Open at once; beyond, 503."""
KEEP_ALIVE_SECONDS: Final = 15
"""After so long a silence a comment is sent, so that proxies keep the connection."""
STATS_SECONDS: Final = 1
_RETRY_AFTER: Final = 10
_QUERY: Final[Mapping[str, Rule]] = {
    "queue": QUEUE_NAME,
    "task": Text(f"task_[{ALPHABET}]{{{LENGTH}}}", "the id of a task"),
    "stats": Text("1", "1"),
}
STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


@frozen
class EventRoutes:
    """``/v1/events``."""

    engine: Engine
    streams: WeakSet[object] = field(eq=False)
    """Weak: one that was never begun, because its client had left by then, is not counted."""

    def mount(self, app: QuartTrio) -> None:
        app.add_url_rule("/v1/events", "events", self.events, methods=["GET"])

    @operation(
        Tag.EVENTS,
        "Listen to events",
        Answer(
            200, "The stream. While nothing happens a comment comes each 15 s.", media="text/event-stream"
        ),
        query=_QUERY,
        headers=(Header.LAST_EVENT_ID,),
    )
    async def events(self) -> Response:
        """Server-Sent Events of the key's environment and queues, of ``queue`` and ``task`` if asked for.

        ``task.created``, ``task.started``, ``task.retrying``, ``task.completed``, ``task.failed``,
        ``task.deleted``, ``queue.created``, ``queue.updated``, ``queue.paused``, ``queue.resumed``,
        ``queue.purged``, ``queue.deleted``; ``stats`` where asked for; ``missed`` when some are no longer
        kept; ``dropped`` and ``end`` are the last of a stream. The data is JSON, with ``queue``, ``at`` and,
        of a task, ``task_id``.

        What names something that the key may not see is a stream without events. Begins now, or behind the
        event that ``Last-Event-ID`` names.
        """
        asked = parameters(_QUERY)
        if request.method == "HEAD":
            return Response(b"", headers=STREAM_HEADERS)
        if len(self.streams) >= MAX_STREAMS:
            raise OverloadedError(
                f"there are {MAX_STREAMS:,} streams of events open; try again later", retry_after=_RETRY_AFTER
            )
        stream = Stream(self.engine, grant(), asked, request.headers.get("Last-Event-ID") or None)
        self.streams.add(stream)
        response = Response(stream.text(self.streams.discard), headers=STREAM_HEADERS)
        response.timeout = None
        return response


class Stream:
    """What one client is sent, until it leaves, its key is revoked, it is too slow, or the feed is closed."""

    def __init__(
        self, engine: Engine, grant: Grant, asked: Mapping[str, Any], last_event_id: str | None
    ) -> None:
        queue, task = asked.get("queue"), asked.get("task")
        self._grant = grant
        self._reader = engine.feed.read(
            _filter(grant, queue, task), last_event_id, about=_about(grant, queue, task)
        )
        self._gauge = Gauge(engine, grant, queue) if "stats" in asked else None
        self._silent_until = inf
        self._waiting = trio.CancelScope()
        self._over = False

    async def text(self, closed: Callable[[Stream], None]) -> AsyncIterator[bytes]:
        """The stream, in pieces; the first one comes at once. ``closed`` is called at its end."""
        try:
            with told_of_revocation(self._grant, lambda: self._waiting.cancel()):
                news = self._news()
                yield b": open\n" + (b"\n" + news if news else self._place())
                while not self._over:
                    self._silent_until = trio.current_time() + KEEP_ALIVE_SECONDS
                    yield await self._next()
        finally:
            closed(self)

    async def _next(self) -> bytes:
        """The next piece, once there is something to say."""
        piece = b""
        while not piece:
            deadline = min(self._silent_until, inf if self._gauge is None else self._gauge.due)
            with trio.CancelScope(deadline=deadline) as self._waiting:
                if not self._grant.revoked.is_set():
                    await self._reader.wait()
            piece = self._news()
            if self._gauge is not None and trio.current_time() >= self._gauge.due and not self._over:
                piece += told("stats", self._gauge.read())
            if not piece and trio.current_time() >= self._silent_until:
                piece = b": keep-alive\n" + self._place()
        return piece

    def _news(self) -> bytes:
        """What has happened since, as far as it is told at once; of a revoked key no more than that it is."""
        if self._grant.revoked.is_set():
            self._over = True
            return told("end", {"detail": "the API key was revoked"})
        news = b"".join(self._block(heard) for heard in self._reader.take())
        self._over = self._reader.over
        return news

    def _block(self, heard: Heard) -> bytes:
        if isinstance(heard, FeedEvent):
            return told(heard.name, _data(heard), heard.id)
        if isinstance(heard, Missed):
            return told("missed", {"detail": heard.detail}, self._reader.place)
        return told("end" if isinstance(heard, Ended) else "dropped", {"detail": heard.detail})

    def _place(self) -> bytes:
        """An id without an event: a client that comes back from here has missed nothing."""
        return f"id: {self._reader.place}\n\n".encode()


class Gauge:
    """Reads the meter once a second: for one queue, or for all that the key may see."""

    def __init__(self, engine: Engine, grant: Grant, queue: str | None) -> None:
        self._engine = engine
        self._queue = queue
        self._which = grant.environment, visible_queues(grant, queue)
        self._last = engine.meter.totals(*self._which)
        self.due = trio.current_time() + STATS_SECONDS
        """In Trio's time."""

    def read(self) -> Mapping[str, Any]:
        """``last_second`` are counts since the last reading, ``per_second`` means over the last minute."""
        now, meter = self._engine.clock.now(), self._engine.meter
        totals, rates = meter.totals(*self._which), meter.rates_of(*self._which, now)
        counts = {
            name: max(0, number - before)  # a queue that the meter forgot begins anew
            for name, number, before in zip(totals._fields, totals, self._last, strict=True)
        }
        self._last = totals
        self.due = trio.current_time() + STATS_SECONDS
        return {
            "queue": self._queue,
            "at": to_rfc3339(now),
            "last_second": counts,
            "per_second": {name: round(rate, 3) for name, rate in rates._asdict().items()},
        }


def visible_queues(grant: Grant, queue: str | None) -> Collection[str] | None:
    """What the meter is asked for: the queue if it may be seen, else all that may; None is "every one"."""
    if queue is None:
        return grant.queues
    return [queue] if grant.allows_queue(queue) else []


def _filter(grant: Grant, queue: str | None, task: str | None) -> Callable[[FeedEvent], bool]:
    def accepts(event: FeedEvent) -> bool:
        environment, name = event.queue
        return (
            environment is grant.environment
            and (queue is None or name == queue)
            and (task is None or event.task_id == task)
            and grant.allows_queue(name)
        )

    return accepts


def _about(grant: Grant, queue: str | None, task: str | None) -> About:
    if task is not None:
        return task
    return grant.environment if queue is None else QueueKey(grant.environment, queue)


def _data(event: FeedEvent) -> Mapping[str, Any]:
    """What all events have comes first, and wins over what the event brought along."""
    task = {} if event.task_id is None else {"task_id": event.task_id}
    head = {**task, "queue": event.queue.name, "at": to_rfc3339(event.at)}
    return {**head, **event.data, **head}


def told(name: str, data: Mapping[str, Any], event_id: str | None = None) -> bytes:
    """One event of a stream; its JSON is one line."""
    place = "" if event_id is None else f"id: {event_id}\n"
    return b"event: %b\n%bdata: %b\n\n" % (name.encode(), place.encode(), msgspec.json.encode(data))
