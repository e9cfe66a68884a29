"""A stream of Server-Sent Events, taken apart (HTML standard, 9.2.6). Sans I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from aq.client.errors import UnexpectedAnswer

MOST_BYTES: Final = 1 << 20
"""Of one event; the service's have some hundred bytes."""
_END: Final = re.compile(rb"\r\n|\n|\r(?!\Z)")


@frozen
class Message:
    """One event as it came; ``id`` is where to go on behind it."""

    name: str
    data: str
    id: str


class Parser:
    """Feed it what arrives, however it is cut. ``place`` is where to go on: the id that was told last."""

    def __init__(self, place: str = "") -> None:
        self.place = place
        self._line: list[bytes] = []
        """Pieces of the line that has not ended."""
        self._half_end = b""
        self._size = 0
        self._name, self._id, self._data = "", place, list[str]()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The events that are whole by now. Raises UnexpectedAnswer for one that does not end."""
        *lines, rest = _END.split(self._half_end + data)
        self._half_end = rest[-1:] if rest.endswith(b"\r") else b""
        if lines:
            lines[0] = b"".join((*self._line, lines[0]))
            self._line.clear()
        self._line.append(rest.removesuffix(b"\r"))
        self._size += len(data)
        for line in lines:
            if line:
                self._take(line.decode("utf-8", "replace"))
            else:
                yield from self._whole()
        if self._size > MOST_BYTES:
            raise UnexpectedAnswer("an event has no end; is base_url right?")

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value

    def _whole(self) -> Iterator[Message]:
        name, data = self._name or "message", "\n".join(self._data)
        self._name, self._data, self._size, self.place = "", [], 0, self._id
        if data:
            yield Message(name, data, self.place)
