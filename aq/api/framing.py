"""The body of a request as it arrives, of a declared length or in chunks (RFC 9112 section 7.1). Sans I/O.

Chunks are read strictly, and alike however the network cuts them: a line ends with CRLF only, holds no
control characters, and what is no data (extensions of sizes, trailers) has bounds of its own.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from attrs import define, field

MAX_BODY_BYTES: Final = 1 << 20
MAX_CHUNKS: Final = 10_000
MAX_BESIDE_BYTES: Final = 16 << 10
"""Extensions of chunks and trailers together."""
MAX_TRAILERS: Final = 100
NOT_WELL_FORMED: Final = "the request is not well-formed HTTP/1.1"

_LONGEST_SIZE: Final = 16
_TEXT: Final = rb"[\t -~\x80-\xff]*"
_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,%d})([ \t]*(?:;%b)?)" % (_LONGEST_SIZE, _TEXT))
_TRAILER: Final = re.compile(rb"[!#$%%&'*+.^_`|~0-9A-Za-z-]+:%b" % _TEXT)


class Refusal(Exception):  # noqa: N818 - an answer to the client, not a fault of ours
    """The connection's last request is answered with this status, and the connection closed."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(detail)


class Body(Protocol):
    """``data`` is what has arrived so far."""

    data: bytearray

    def take(self, buffer: bytearray) -> bool:
        """Move what is here of the body out of the buffer; True once it is whole. Raises Refusal."""


@define
class SizedBody:
    """One of ``length`` bytes."""

    length: int
    data: bytearray = field(factory=bytearray)

    def take(self, buffer: bytearray) -> bool:
        missing = self.length - len(self.data)
        self.data += buffer[:missing]
        del buffer[:missing]
        return len(self.data) == self.length


@define
class ChunkedBody:
    """One in chunks. Extensions and trailers are read and dropped."""

    data: bytearray = field(factory=bytearray)
    _end_of_chunk: int = 0
    """Where in ``data`` the chunk ends that is being read."""
    _within_chunk: bool = False
    _last: bool = False
    """The chunk of size 0 was there: trailers follow."""
    _chunks: int = 0
    _trailers: int = 0
    _beside: int = 0

    def take(self, buffer: bytearray) -> bool:
        while True:
            if self._within_chunk:
                missing = self._end_of_chunk - len(self.data)
                self.data += buffer[:missing]
                del buffer[:missing]
                if len(self.data) < self._end_of_chunk or not _take_end_of_chunk(buffer):
                    return False
                self._within_chunk = False
            line = self._line(buffer)
            if line is None:
                return False
            if not self._last:
                self._begin_chunk(line)
            elif not line:
                return True
            else:
                self._drop_trailer(line)

    def _line(self, buffer: bytearray) -> bytes | None:
        """The next line without its end, None until all of it is here."""
        longest = MAX_BESIDE_BYTES - self._beside + _LONGEST_SIZE
        end = buffer.find(b"\n", 0, longest + 2)
        if end < 0:
            if len(buffer) > longest + 1:
                raise _too_much_beside()
            return None
        if buffer[end - 1 : end] != b"\r":
            raise Refusal(400, NOT_WELL_FORMED)
        line = bytes(buffer[: end - 1])
        del buffer[: end + 1]
        return line

    def _begin_chunk(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None:
            raise Refusal(400, f"{NOT_WELL_FORMED}: the size of a chunk is a hexadecimal number")
        self._count_beside(len(size[2]))
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            raise Refusal(413, f"the body may be cut into at most {MAX_CHUNKS:,} chunks")
        self._end_of_chunk += int(size[1], 16)
        check_size(self._end_of_chunk)
        self._last = self._end_of_chunk == len(self.data)
        self._within_chunk = not self._last

    def _drop_trailer(self, line: bytes) -> None:
        if not _TRAILER.fullmatch(line):
            raise Refusal(400, f"{NOT_WELL_FORMED}: a trailer is a name, a colon and a value")
        self._count_beside(len(line) + 2)
        self._trailers += 1
        if self._trailers > MAX_TRAILERS:
            raise Refusal(431, f"a request may have at most {MAX_TRAILERS} trailers")

    def _count_beside(self, size: int) -> None:
        self._beside += size
        if self._beside > MAX_BESIDE_BYTES:
            raise _too_much_beside()


def _take_end_of_chunk(buffer: bytearray) -> bool:
    if not b"\r\n".startswith(bytes(buffer[:2])):
        raise Refusal(400, f"{NOT_WELL_FORMED}: a chunk is longer than its size")
    if len(buffer) < 2:
        return False
    del buffer[:2]
    return True


def check_size(size: int) -> None:
    """Raises Refusal for a body that is too large."""
    if size > MAX_BODY_BYTES:
        raise Refusal(413, f"the body may be at most {MAX_BODY_BYTES:,} bytes long")


def _too_much_beside() -> Refusal:
    return Refusal(431, f"extensions of chunks and trailers may be at most {MAX_BESIDE_BYTES:,} bytes long")
