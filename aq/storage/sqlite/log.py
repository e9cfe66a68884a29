"""Is all of the write-ahead log readable that was ever synced? (https://sqlite.org/fileformat2.html#walformat)

SQLite reads the log up to the first frame whose checksum is wrong, and takes the rest for what a crash left
of a commit that was under way. That is right for a crash: with synchronous=FULL the log is synced at each
commit, so behind the last good frame there is at most one commit. Where there is more, bytes have changed.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from typing import Final

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">4I8x")
_MAGIC: Final = 0x377F0682
_READABLE: Final = 16
"""Where the index (``-shm``) has the number of frames that SQLite can read, in the machine's byte order."""


def damaged_log(path: str, page_size: int) -> str | None:
    """What is wrong with the log of a store that has just been read from for the first time, or None."""
    try:
        with open(f"{path}-wal", "rb") as log, open(f"{path}-shm", "rb") as index:
            header = log.read(_HEADER.size)
            index.seek(_READABLE)
            readable = int.from_bytes(index.read(4), sys.byteorder)
            return _judge(header, list(_frames(log.fileno(), page_size, readable)), readable)
    except FileNotFoundError:
        return None


def _judge(header: bytes, behind: list[tuple[int, tuple[int, int]]], readable: int) -> str | None:
    """``behind`` the last readable frame: of each frame its commit mark (0: none) and its salts."""
    if not behind:
        return None
    if not _is_header(header):
        return "the write-ahead log has no readable header, and commits in it"
    salts = _HEADER.unpack(header)[4:6]
    ours = [commit for commit, salt in behind if salt == salts]
    if any(ours[:-1]):
        return f"the write-ahead log cannot be read behind frame {readable}, and there are commits behind it"
    return None


def _frames(log: int, page_size: int, first: int) -> Iterator[tuple[int, tuple[int, int]]]:
    place = _HEADER.size + first * (24 + page_size)
    while len(head := os.pread(log, _FRAME.size, place)) == _FRAME.size:
        _, commit, one, other = _FRAME.unpack(head)
        yield commit, (one, other)
        place += 24 + page_size


def _is_header(header: bytes) -> bool:
    """By its own checksum, whose byte order its first word says."""
    if len(header) < _HEADER.size:
        return False
    magic, *_, first, second = _HEADER.unpack(header)
    if magic & ~1 != _MAGIC:
        return False
    words = struct.unpack((">" if magic & 1 else "<") + "6I", header[:24])
    one = other = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = one + even + other & 0xFFFFFFFF
        other = other + odd + one & 0xFFFFFFFF
    return (one, other) == (first, second)
