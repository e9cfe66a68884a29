"""Which idle connection is used again, and which are to be closed. Pure bookkeeping; its user does the I/O.

The last one put back is the first one taken: it is the least likely to have been closed by its peer, and the
others grow old and go. Every operation is O(1), amortised: connections that have been idle for too long are
found at the head of one list of all, in the order they were put, whatever their destination. There is no
timer: with no traffic at all, what is idle stays until `expired` is asked again, at most ``max_idle``.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, Generic, TypeVar

from aq.target import Destination

MAX_IDLE: Final = 512
MAX_IDLE_PER_DESTINATION: Final = 128
IDLE_S: Final = 30.0

C = TypeVar("C")


class Pool(Generic[C]):
    """Idle connections by destination. ``now`` is in seconds on a clock that never goes back.

    Bounds: ``max_idle`` in all, ``max_per_destination`` of each, ``idle_s`` seconds of idleness. Over a
    bound, the connection that has been idle longest goes.
    """

    def __init__(
        self,
        *,
        max_idle: int = MAX_IDLE,
        max_per_destination: int = MAX_IDLE_PER_DESTINATION,
        idle_s: float = IDLE_S,
    ) -> None:
        self._max_idle = max_idle
        self._max_per_destination = max_per_destination
        self._idle_s = idle_s
        self._stacks: dict[Destination, deque[C]] = {}
        self._oldest_first: OrderedDict[C, tuple[Destination, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._oldest_first)

    def take(self, destination: Destination) -> C | None:
        """The connection to this destination that was put last, now the caller's; None when there is none."""
        stack = self._stacks.get(destination)
        if stack is None:
            return None
        connection = stack.pop()
        self._forget(connection, destination, stack)
        return connection

    def put(self, destination: Destination, connection: C, now: float) -> list[C]:
        """Keep a connection that is idle from ``now``. Returns those to be closed, perhaps this one."""
        stack = self._stacks.setdefault(destination, deque())
        stack.append(connection)
        self._oldest_first[connection] = (destination, now)
        closing = []
        if len(stack) > self._max_per_destination:
            closing.append(self._drop(stack[0]))
        if len(self._oldest_first) > self._max_idle:
            closing.append(self._drop(next(iter(self._oldest_first))))
        return closing

    def expired(self, now: float) -> list[C]:
        """Those that have been idle for too long, to be closed by the caller."""
        closing = []
        while self._oldest_first:
            connection, (_, since) = next(iter(self._oldest_first.items()))
            if now - since < self._idle_s:
                break
            closing.append(self._drop(connection))
        return closing

    def clear(self) -> list[C]:
        """All of them, to be closed by the caller."""
        closing = list(self._oldest_first)
        self._oldest_first.clear()
        self._stacks.clear()
        return closing

    def _drop(self, connection: C) -> C:
        """Let go of the oldest connection of its destination."""
        destination, _ = self._oldest_first[connection]
        stack = self._stacks[destination]
        stack.popleft()
        self._forget(connection, destination, stack)
        return connection

    def _forget(self, connection: C, destination: Destination, stack: deque[C]) -> None:
        del self._oldest_first[connection]
        if not stack:
            del self._stacks[destination]
