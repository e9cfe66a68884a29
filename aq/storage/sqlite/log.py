"""Is all of the write-ahead log readable that was ever synced? (https://sqlite.org/fileformat2.html#walformat)

SQLite reads the log up to the first frame whose checksum is wrong, and takes the rest for what a crash left
of a commit that was under way. That is right for a crash: with synchronous=FULL the log is synced at each
commit, so behind the last good frame there is at most one commit that was under way; and behind that, where
a crash came before, the rest of another one, which it has not overwritten. Each frame's checksum goes on from
the one before it, so these do not hang together. Where more than one commit does, bytes have changed.

Such a rest must not stay where the next commit is written: one that begins with the same pages would make the
checksums of the rest right again, and cut in time it would bring back what was not there any more.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from aq.errors import StorageError

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">4I8x")
_MAGIC: Final = 0x377F0682
_READABLE: Final = 16
"""Where the index (``-shm``) has the number of frames that SQLite can read, in the machine's byte order."""


class LogIndex:
    """The index of the log (``-shm``), open beside SQLite's own connections, for as long as there are any.

    With the first descriptor of a file that a process closes it loses every POSIX lock that it holds on the
    file: SQLite's too, and another program (a shell, a backup) would take the store for unused.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None
        self.rest = False
        """Whether `damage` has found a rest of commits that were cut."""

    def damage(self, page_size: int) -> str | None:
        """What is wrong with the log of a store that has just been read for the first time, or None."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(f"{self._path}-shm", os.O_RDONLY | os.O_CLOEXEC)
            with open(f"{self._path}-wal", "rb") as log:
                header = log.read(_HEADER.size)
                readable = int.from_bytes(os.pread(self._descriptor, 4, _READABLE), sys.byteorder)
                behind = list(_frames(log.fileno(), page_size, readable, header))
                self.rest = bool(behind)
                return _judge(header, behind, readable)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(
                f"cannot read the write-ahead log of {self._path}: {error.strerror}"
            ) from error

    def close(self) -> None:
        """When no connection is open any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _judge(header: bytes, behind: Sequence[tuple[int, bool]], readable: int) -> str | None:
    """``behind`` the last readable frame: of each frame of this log, as `_frames` gives them."""
    if not _is_header(header):
        return "the write-ahead log has no readable header, and commits in it" if behind else None
    commits = 0
    for commit, goes_on in behind:
        commits = (commits if goes_on else 0) + (commit > 0)
        if commits > 1:
            return (
                f"the write-ahead log cannot be read behind frame {readable}, and there are commits behind it"
            )
    return None


def _frames(log: int, page_size: int, first: int, header: bytes) -> Iterator[tuple[int, bool]]:
    """Of each frame its commit mark (0: none), and whether its checksum goes on from the one before."""
    order = ">" if header[3:4] and header[3] & 1 else "<"
    place, before = _HEADER.size + first * (24 + page_size), None
    while len(head := os.pread(log, _FRAME.size, place)) == _FRAME.size:
        frame = os.pread(log, 24 + page_size, place)
        _, commit, *salts = _FRAME.unpack(head)
        ours = (
            len(header) < _HEADER.size or list(_HEADER.unpack(header)[4:6]) == salts or not _is_header(header)
        )
        sums = struct.unpack(">2I", frame[16:24]) if len(frame) >= 24 else None
        goes_on = before is not None and sums == _sums(frame[:8] + frame[24:], order, *before)
        if ours:
            yield commit, goes_on
        before = sums if ours else None
        place += 24 + page_size


def _is_header(header: bytes) -> bool:
    """By its own checksum, whose byte order its first word says."""
    if len(header) < _HEADER.size:
        return False
    magic, *_, first, second = _HEADER.unpack(header)
    if magic & ~1 != _MAGIC:
        return False
    return _sums(header[:24], ">" if magic & 1 else "<") == (first, second)


def _sums(data: bytes, order: str, one: int = 0, other: int = 0) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(data) // 4}I", data[: len(data) // 4 * 4])
    for even, odd in zip(words[::2], words[1::2], strict=False):
        one = one + even + other & 0xFFFFFFFF
        other = other + odd + one & 0xFFFFFFFF
    return one, other
