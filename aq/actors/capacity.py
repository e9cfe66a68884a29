"""How many attempts may be in flight over all queues, and whose turn it is when that is reached."""

from __future__ import annotations

from collections.abc import Callable

import trio

from aq.task import QueueKey


class Capacity:
    """``total`` places for attempts. When they run out, queues take turns, in the order in which they asked.

    A place that comes free while a queue waits is set aside for it, one at a time, so that a busy queue
    cannot take back at once what it has just released.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._in_use = 0
        self._waiting: dict[QueueKey, Callable[[], None]] = {}
        self._set_aside: dict[QueueKey, int] = {}
        self._idle = trio.Event()

    @property
    def in_use(self) -> int:
        return self._in_use

    def claim(self, key: QueueKey, want: int, wake: Callable[[], None]) -> int:
        """Up to ``want`` places, at once; ``wake`` is called when it is worth asking for the rest."""
        mine = self._set_aside.pop(key, 0)
        self._free += mine
        others_wait = bool(self._waiting.keys() - {key})
        granted = min(want, mine if others_wait else self._free)
        self._free -= granted
        self._in_use += granted
        if granted < want:
            self._waiting.setdefault(key, wake)  # who waits already keeps its place in the line
        else:
            self._waiting.pop(key, None)
        self._hand_out()
        return granted

    def release(self, places: int = 1) -> None:
        """Give places back."""
        self._free += places
        self._in_use -= places
        self._hand_out()
        if not self._in_use:
            self._idle.set()
            self._idle = trio.Event()

    def leave(self, key: QueueKey, places: int) -> None:
        """A queue is gone, with so many of its places in use."""
        self._waiting.pop(key, None)
        self._free += self._set_aside.pop(key, 0)
        self.release(places)

    def keeps_waiting(self, key: QueueKey) -> bool:
        """Whether a queue asked for more places than there were."""
        return key in self._waiting

    async def wait_idle(self) -> None:
        """Until no attempt is in flight."""
        while self._in_use:
            await self._idle.wait()

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            key = next(iter(self._waiting))
            self._set_aside[key] = self._set_aside.get(key, 0) + 1
            self._free -= 1
            self._waiting.pop(key)()
