"""What happened, for whoever listens: a bounded ring of events, and readers that are places in it.

Publishing puts one tuple into the ring. A reader has no queue of its own, so a slow one costs nothing, and
is told when the ring has overtaken it. Readers that wait are woken only by what they listen to. All of it
belongs to one Trio run: nothing here may be called from another thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import trio
from attrs import define, field, frozen

from aq.instants import Instant
from aq.task import Environment, QueueKey

RING: Final = 10_000
"""Events kept; older ones are forgotten."""
BATCH: Final = 64
"""Events handed out at once, at most."""
_STRIDE: Final = 256
"""Events a reader looks at before others get their turn."""


class FeedEvent(NamedTuple):
    """Something that happened, and is durable."""

    token: str
    number: int
    """1 for the first of a feed."""
    name: str
    """``task.completed``, ``queue.paused``, …"""
    queue: QueueKey
    at: Instant
    task_id: str | None
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        """``<token>-<number>``."""
        return f"{self.token}-{self.number}"


@frozen
class Missed:
    """Comes first, when a reader cannot be given everything behind the event that it named."""

    detail: str = "some events may have been missed"


@frozen
class Dropped:
    """The last word to a reader that the ring has overtaken."""

    detail: str = "too slow: the events that came next are no longer kept"


@frozen
class Ended:
    """The last word when the feed is closed."""

    detail: str = "the service is shutting down"


Heard: TypeAlias = FeedEvent | Missed | Dropped | Ended
About: TypeAlias = Environment | QueueKey | str | None
"""What a reader listens to: an environment, a queue or a task by its id; None is everything."""

_NOTHING: Final = FeedEvent("", 0, "", QueueKey(Environment.LIVE, ""), 0, None, {})


@define(eq=False)
class _Bench:
    """Where the readers that listen to one thing wait."""

    woken: trio.Event = field(factory=trio.Event)
    number: int | None = None
    """Of the event that woke them."""
    waiting: int = 0


class Feed:
    """``token`` marks the ids of this run: it must differ from those of other runs."""

    def __init__(self, token: str, *, ring: int = RING) -> None:
        self.token = token
        self.last = 0
        """The number of the latest event."""
        self.closed = False
        self._size = ring
        self._ring = [_NOTHING] * ring
        self._benches: dict[About, _Bench] = {}

    def publish(self, name: str, key: QueueKey, at: Instant, task_id: str | None = None, **data: Any) -> None:
        """Tell that it happened. ``data`` is what JSON can hold; what is in it must not change later."""
        self.last = number = self.last + 1
        self._ring[number % self._size] = FeedEvent(self.token, number, name, key, at, task_id, data)
        if self._benches:
            for about in (key, task_id, key.environment, None):
                self._wake(about, number)

    def read(
        self, accepts: Callable[[FeedEvent], bool], after: str | None = None, *, about: About = None
    ) -> Reader:
        """A reader of the events that ``accepts`` takes: from now on, or behind the event with id ``after``.

        When that one is no longer kept, `Missed` comes first, then all that is; when it is of another run,
        `Missed`, then what happens from now on. While a reader waits nothing but events about ``about`` wake
        it, or are given to it. One that is no longer wanted needs no closing.
        """
        if after is None:
            return Reader(self, accepts, about, self.last)
        known = self._number_of(after)
        if known is None:
            return Reader(self, accepts, about, self.last, Missed())
        if known < self.first - 1:
            return Reader(self, accepts, about, self.first - 1, Missed())
        return Reader(self, accepts, about, known)

    def close(self) -> None:
        """Every reader, once it has read what there is, gets `Ended` as its last word."""
        self.closed = True
        for about in list(self._benches):
            self._wake(about, self.last + 1)

    # -- for readers ----------------------------------------------------------------------------------------
    @property
    def first(self) -> int:
        """The number of the oldest event that is kept; ``last + 1`` while there is none."""
        return max(1, self.last - self._size + 1)

    def event(self, number: int) -> FeedEvent:
        """One that is kept: from ``first`` to ``last``."""
        return self._ring[number % self._size]

    def sit(self, about: About) -> _Bench:
        """Where to wait until something about it is published, or the feed is closed."""
        bench = self._benches.setdefault(about, _Bench())
        bench.waiting += 1
        return bench

    def rise(self, about: About, bench: _Bench) -> int:
        """Whoever sat there waits no longer: the number of the event behind which it goes on."""
        bench.waiting -= 1
        if bench.number is not None:
            return bench.number - 1
        if not bench.waiting:
            del self._benches[about]
        return self.last

    # -- within ---------------------------------------------------------------------------------------------
    def _wake(self, about: About, number: int) -> None:
        bench = self._benches.pop(about, None)
        if bench is not None:
            bench.number = number
            bench.woken.set()

    def _number_of(self, event_id: str) -> int | None:
        """Of an event of this feed, kept or not; None for any other text."""
        token, _, digits = event_id.rpartition("-")
        if token != self.token or not re.fullmatch("[0-9]{1,18}", digits):
            return None
        return int(digits) if int(digits) <= self.last else None


class Reader:
    """A place in the feed, made by `Feed.read`: iterate over it, or `wait` and `take` what there is.

    A wait that is cancelled loses nothing: the next one goes on from the same place.
    """

    def __init__(
        self,
        feed: Feed,
        accepts: Callable[[FeedEvent], bool],
        about: About,
        seen: int,
        missed: Missed | None = None,
    ) -> None:
        self.over = False
        """The last word was taken."""
        self._feed = feed
        self._accepts = accepts
        self._about = about
        self._seen = seen
        self._missed = missed

    @property
    def place(self) -> str:
        """The id of the latest event looked at, accepted or not: reading on behind it misses nothing."""
        return f"{self._feed.token}-{self._seen}"

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> Heard:
        while not self.over:
            await self.wait()
            for heard in self.take(1):
                return heard
        raise StopAsyncIteration

    async def wait(self) -> None:
        """Until there is something to look at; `take` may then find that none of it is accepted."""
        if not self._at_end or self._feed.closed or self._missed is not None:
            await trio.lowlevel.checkpoint()
            return
        bench = self._feed.sit(self._about)
        try:
            await bench.woken.wait()
        finally:
            self._seen = self._feed.rise(self._about, bench)

    def take(self, most: int = BATCH) -> Sequence[Heard]:
        """The next accepted events, at most so many and maybe none yet; or the marker or last word due."""
        if self._missed is not None:
            missed, self._missed = self._missed, None
            return [missed]
        if self._seen < self._feed.first - 1:
            self.over = True
            return [Dropped()]
        if self._at_end and self._feed.closed:
            self.over = True
            return [Ended()]
        return self._accepted(most)

    @property
    def _at_end(self) -> bool:
        return self._seen == self._feed.last

    def _accepted(self, most: int) -> list[Heard]:
        accepted: list[Heard] = []
        for number in range(self._seen + 1, min(self._feed.last, self._seen + _STRIDE) + 1):
            self._seen = number
            event = self._feed.event(number)
            if self._accepts(event):
                accepted.append(event)
                if len(accepted) == most:
                    break
        return accepted
