"""How much of requests may be here at once, of all connections together.

10,000 clients that each begin a body of 1 MiB cannot fill the memory, and need no key to be stopped: whoever
brings more than there is room for is answered 503 and closed (see `aq.api.connection`). A small request is
taken also then, so that those who fill the room shut out nobody but each other.
"""

from __future__ import annotations

from typing import Final

from attrs import define

MAX_HELD_BYTES: Final = 256 << 20
ALWAYS_TAKEN: Final = 32 << 10
"""A connection that holds so many bytes or less needs no room."""


@define
class Room:
    """``held`` are the bytes that have arrived of requests whose answers are not sent yet."""

    most: int = MAX_HELD_BYTES
    held: int = 0

    def has_for(self, size: int) -> bool:
        """Whether a connection may hold so many bytes, which are counted already."""
        return size <= ALWAYS_TAKEN or self.held <= self.most
