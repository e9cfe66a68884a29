"""What happens in a service, as it happens: a stream that is resumed whenever it breaks."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from datetime import datetime
from http import HTTPStatus
from itertools import count
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import msgspec
from attrs import evolve, field, frozen

from aq.client.call import Call, error_of, nothing
from aq.client.channels import AsyncChannel, Channel
from aq.client.core import Core, Open, Read, Request, Sleep, StreamStep, worth_a_retry
from aq.client.drivers import Async, Sync
from aq.client.errors import APIError, ConnectionFailed, UnexpectedAnswer
from aq.client.fields import encode_query, path
from aq.client.sse import Message, Parser

SILENCE: Final = 45.0
"""Seconds; the service says something every 15."""
PATIENCE: Final = 300.0
_LAST: Final = ("end", "dropped")
"""What a stream says before it ends: go on with another one."""


@frozen
class Event:
    """Something that happened (docs/api/events.md). ``data`` is all that was told.

    ``id`` is where to go on behind it, as ``last_event_id``. An event ``missed`` says that some before it are
    no longer kept.
    """

    name: str
    id: str | None
    data: Mapping[str, Any] = field(factory=dict)

    @property
    def task_id(self) -> str | None:
        return self.data.get("task_id")

    @property
    def queue(self) -> str | None:
        return self.data.get("queue")

    @property
    def at(self) -> datetime | None:
        """When it happened."""
        return msgspec.convert(self.data.get("at"), datetime | None)


Listening: TypeAlias = Generator[StreamStep | Event, Any, None]


@frozen
class Listener:
    """What is listened to, from where on, and for how many seconds without a connection it goes on."""

    core: Core
    path: str
    place: str
    patience: float

    def listen(self) -> Listening:
        """Steps, and the events as they come. Raises APIError for what will not be better later."""
        place, tries = self.place, 0
        lost_at: float | None = None
        heard = False
        while True:
            parser = Parser(place)
            try:
                reply = yield Open(self._request(place), self.core.timeout, SILENCE)
                if reply.status != HTTPStatus.OK:
                    raise error_of(reply)
                heard, lost_at = True, None
                for nth in count():
                    data = yield Read()
                    if data and nth:  # the first piece comes from a service that is ending, too
                        tries = 0
                    for message in parser.feed(data):
                        if message.name not in _LAST:
                            yield _event(message)
                    if not data:
                        raise ConnectionFailed(f"the stream of events from {self.core.base_url} ended")
            except APIError as error:
                place, tries = parser.place, tries + 1
                lost_at = self.core.clock() if lost_at is None else lost_at
                enough = (
                    self.core.clock() - lost_at > self.patience if heard else tries > self.core.max_retries
                )
                if enough or not worth_a_retry(error):
                    raise
                wait = self.core.backoff(tries) + (error.retry_after or 0)
            yield Sleep(wait)

    def _request(self, place: str) -> Request:
        request = self.core.request(Call(method="GET", path=self.path, read=nothing))
        headers = {**request.headers, "Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if place:
            headers["Last-Event-ID"] = place
        return evolve(request, headers=headers)


def listener(core: Core, which: Mapping[str, object], last_event_id: str | None, patience: float) -> Listener:
    """Raises ValueError for what cannot be the id of an event."""
    if last_event_id is not None and not re.fullmatch(r"[!-~]+", last_event_id):
        raise ValueError("last_event_id must be the id of an event")
    return Listener(core, path("events") + encode_query(which), last_event_id or "", patience)


def _event(message: Message) -> Event:
    try:
        data = msgspec.json.decode(message.data, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise UnexpectedAnswer(f"an event {message.name} is none of AsyncQueue: {error}") from None
    return Event(message.name, message.id or None, data)


class _Place:
    """Where a listening is: the step that was asked for last, until its result is there.

    One that was cancelled is done again: of a stream that is not there any more that is an end, after which
    it is resumed. So nothing is lost.
    """

    def __init__(self, listener: Listener) -> None:
        self.flow = listener.listen()
        self._step: StreamStep | None = None

    def next(self) -> StreamStep | Event:
        """What to do, or what happened. Raises StopIteration when it is over."""
        if self._step is None:
            return self._asked(next(self.flow))
        return self._step

    def done(self, result: object) -> StreamStep | Event:
        return self._asked(self.flow.send(result))

    def failed(self, error: APIError) -> StreamStep | Event:
        return self._asked(self.flow.throw(error))

    def _asked(self, step: StreamStep | Event) -> StreamStep | Event:
        self._step = None if isinstance(step, Event) else step
        return step


class Events:
    """Iterate over it for what happens, for as long as it takes; close it, or use ``with``."""

    def __init__(self, listener: Listener, driver: Sync) -> None:
        self._place = _Place(listener)
        self._channel = Channel(driver)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        step = self._place.next()
        while not isinstance(step, Event):
            try:
                result = self._channel.done(step)
            except APIError as error:
                step = self._place.failed(error)
            else:
                step = self._place.done(result)
        return step

    def close(self) -> None:
        """Listen no more."""
        self._place.flow.close()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncEvents:
    """As `Events`, with ``async for``, ``async with`` and ``aclose``. One that is cancelled loses nothing."""

    def __init__(self, listener: Listener, driver: Async) -> None:
        self._place = _Place(listener)
        self._channel = AsyncChannel(driver)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            step = self._place.next()
            while not isinstance(step, Event):
                try:
                    result = await self._channel.done(step)
                except APIError as error:
                    step = self._place.failed(error)
                else:
                    step = self._place.done(result)
        except StopIteration:
            raise StopAsyncIteration from None
        return step

    async def aclose(self) -> None:
        """Listen no more."""
        self._place.flow.close()
        await self._channel.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
