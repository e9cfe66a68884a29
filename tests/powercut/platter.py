"""What a disk keeps when the power goes: everything that was synced, and of the rest whatever it likes.

A file is its content when it was synced last and the writes and truncations since; a directory, likewise,
its names when it was synced last and the names made and deleted since. Of what is not synced any part may
survive: each write sector by sector, each truncation, each name, none, all, the first few, or any choice of
them. A sector that was being written wholly may hold neither the old nor the new bytes, where these differ.
Bytes that were not written stay as they are, which SQLite relies on (SQLITE_IOCAP_POWERSAFE_OVERWRITE).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Final, TypeAlias, TypeVar

from attrs import Factory, define, evolve, frozen

T = TypeVar("T")

SECTORS: Final = (512, 4_096)
"""Bytes that are written wholly or not at all."""
PAGE: Final = 4_096
"""Bytes that a system's page cache keeps and writes as one."""
_SPOILT: Final = 1 / 40
"""In one file of three, as many of the sectors that survive hold anything."""


@frozen
class Write:
    name: str
    offset: int
    data: bytes


@frozen
class Truncate:
    name: str
    size: int


@frozen
class Sync:
    name: str
    directory: bool
    """Its directory is synced too."""


@frozen
class Create:
    name: str


@frozen
class Delete:
    name: str
    directory: bool
    """The directory is synced after it."""


Operation: TypeAlias = Write | Truncate | Sync | Create | Delete
Files: TypeAlias = Mapping[str, bytes]
"""Contents by name."""


@define(eq=False)
class _File:
    synced: bytearray = Factory(bytearray)
    since: list[Write | Truncate] = Factory(list)
    clean: list[Write] = Factory(list)
    """What a failed sync gave up, in pages: not on the disk for sure, and no later sync writes it."""

    def sync(self) -> None:
        """All that is dirty is written, page by page: with what is clean in the pages that are dirty."""
        dirty = {page for change in self.since for page in _pages(change)}
        for piece in self.clean:
            if _pages(piece) & dirty:
                _change(self.synced, piece)
        for change in self.since:
            _change(self.synced, change)
        self.clean = [piece for piece in self.clean if not _pages(piece) & dirty]
        self.since = []

    def sync_failed(self) -> None:
        for change in self.since:
            if isinstance(change, Truncate):
                self.clean = [piece for piece in self.clean if piece.offset + len(piece.data) <= change.size]
                _change(self.synced, change)
            else:
                self.clean += _pieces(change, PAGE)
        self.since = []

    def surviving(self, random: Random, begun: Write | Truncate | None) -> bytes:
        content = bytearray(self.synced)
        sector = random.choice(SECTORS)
        changes = [*self.clean, *self.since, *([begun] if begun else [])]
        pieces: list[Write | Truncate] = []
        for change in changes:
            pieces += [change] if isinstance(change, Truncate) else _pieces(change, sector)
        share = random.choice([0, 0, _SPOILT])
        for piece in _chosen(pieces, random):
            if (
                isinstance(piece, Write)
                and _whole(piece)
                and random.random() < share
                and not _there(content, piece)
            ):
                piece = evolve(piece, data=random.randbytes(len(piece.data)))
            _change(content, piece)
        return bytes(content)


class Platter:
    """The disk of one machine: operations are applied as they happen; `surviving` may be asked any time."""

    def __init__(self, files: Files) -> None:
        self._names = {name: _File(bytearray(content)) for name, content in files.items()}
        self._synced_names = dict(self._names)
        self._since: list[tuple[str, _File | None]] = []

    def apply(self, operation: Operation) -> None:
        match operation:
            case Write(name) | Truncate(name):
                self._names[name].since.append(operation)
            case Sync(name, directory):
                self._names[name].sync()
                if directory:
                    self._sync_names()
            case Create(name):
                self._name(name, _File())
            case Delete(name, directory):
                self._name(name, None)
                if directory:
                    self._sync_names()

    def sync_failed(self, name: str) -> None:
        """What was to be synced counts as clean from now on, on the disk or not."""
        self._names[name].sync_failed()

    def surviving(self, random: Random, begun: Operation | None = None) -> Files:
        """One of the disks that may be found after a cut now, in the midst of what has ``begun``."""
        since = list(self._since)
        if isinstance(begun, Create | Delete):
            since.append((begun.name, None if isinstance(begun, Delete) else _File()))
        last = begun if isinstance(begun, Write | Truncate) else None
        names: dict[str, _File | None] = dict(self._synced_names)
        names.update(_chosen(since, random))
        return {
            name: file.surviving(random, last if last and file is self._names[last.name] else None)
            for name, file in names.items()
            if file is not None
        }

    def _name(self, name: str, file: _File | None) -> None:
        self._since.append((name, file))
        if file is None:
            self._names.pop(name)
        else:
            self._names[name] = file

    def _sync_names(self) -> None:
        self._synced_names = dict(self._names)
        self._since.clear()


def _change(content: bytearray, change: Write | Truncate) -> None:
    size = change.size if isinstance(change, Truncate) else change.offset + len(change.data)
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if isinstance(change, Truncate):
        del content[size:]
    else:
        content[change.offset : size] = change.data


def _whole(piece: Write) -> bool:
    return len(piece.data) >= SECTORS[0]


def _there(content: bytearray, piece: Write) -> bool:
    return content[piece.offset : piece.offset + len(piece.data)] == piece.data


def _pages(change: Write | Truncate) -> set[int]:
    """Numbers of the pages that a change makes dirty; cutting a file is no matter of pages."""
    if isinstance(change, Truncate):
        return set()
    return set(range(change.offset // PAGE, (change.offset + len(change.data) - 1) // PAGE + 1))


def _pieces(change: Write, sector: int) -> Iterator[Write]:
    at, end = change.offset, change.offset + len(change.data)
    while at < end:
        until = min(end, at - at % sector + sector)
        yield Write(change.name, at, change.data[at - change.offset : until - change.offset])
        at = until


def _chosen(things: Sequence[T], random: Random) -> Sequence[T]:
    """None, all, the first few, all but one, or any of them."""
    if not things:
        return things
    match random.randrange(6):
        case 0:
            return []
        case 1:
            return things
        case 2:
            return things[: random.randint(0, len(things))]
        case 3:
            lost = random.randrange(len(things))
            return [*things[:lost], *things[lost + 1 :]]
        case _:
            share = random.random()
            return [thing for thing in things if random.random() < share]
