"""A machine: a directory with a VFS over it that writes every operation down.

The files are real ones, in a directory of their own: what the programs of the machine see, its page cache so
to speak. What its disk would keep is worked out from the operations by `platter`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw
from attrs import Factory, define, evolve, frozen

from aq.storage.sqlite.connection import Connection
from tests.powercut.connection import ApswConnection
from tests.powercut.platter import Create, Delete, Operation, Sync, Truncate, Write

STORE: Final = "aq.db"
"""The store's file in the directory of a machine."""
_RECORDED: Final = (
    apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
) | apsw.SQLITE_OPEN_WAL
_NUMBERS: Final = itertools.count(1)


class NoPowerError(Exception):
    """For a plan to raise: the machine is off from this operation on."""


class PartialWrite(Exception):  # noqa: N818 -- what happens, not an error
    """For a plan to raise at a write: the first ``size`` bytes are written, then SQLite gets the error."""

    def __init__(self, size: int, error: Exception) -> None:
        self.size = size
        self.error = error


@frozen
class Moment:
    """An operation, and the statement that it was a part of."""

    operation: Operation
    statement: str

    @property
    def kind(self) -> str:
        """What a cut in its midst is called."""
        if self.statement.startswith("BEGIN IMMEDIATE;"):
            return "migration"
        if self.statement == "rewrite the log":
            return "log rewritten"
        if "incremental_vacuum" in self.statement:
            return "giving pages back"
        if self.statement == "close":
            return "closing"
        if self.statement.startswith("PRAGMA") and "checkpoint" not in self.statement:
            return "opening"
        if not self.operation.name.endswith("-wal"):
            return "checkpoint"
        match self.operation:
            case Write():
                return "log write"
            case Sync():
                return "log sync"
            case _:
                return "log made or cut"


@define
class Machine:
    """``plan`` is asked before each operation, and before each read with None; what it raises, SQLite gets.

    It may raise NoPowerError, and from then on nothing works; ``off`` is called then.
    """

    path: Path
    """Of the store; its directory belongs to the machine."""
    plan: Callable[[Moment | None], None] = lambda moment: None
    done: Callable[[Moment], None] = lambda moment: None
    """Told of each operation when it is done."""
    off: Callable[[], object] = lambda: None
    statement: str = ""
    powered: bool = True
    replaced: dict[str, str] = Factory(dict)
    folds_at: int = 1_000
    around: Callable[[Connection, bool], Connection] = lambda db, reading: db
    """Stands between the storage and its connections; told whether one may only read."""
    vfs: str = Factory(lambda: f"machine-{next(_NUMBERS)}")

    def connect(self, path: str, *, read_only: bool = False) -> Connection:
        def heard(sql: str) -> None:
            self.statement = sql

        return self.around(
            ApswConnection(
                path,
                read_only=read_only,
                vfs=self.vfs,
                replaced=self.replaced,
                heard=heard,
                folds_at=self.folds_at,
                rewrite=self.rewrite,
            ),
            read_only,
        )

    def rewrite(self, path: str) -> None:
        """As `aq.storage.sqlite.connection.rewrite`, in two pieces."""
        name, content = os.path.basename(path), Path(path).read_bytes()
        middle = len(content) // 2
        pieces = Write(name, 0, content[:middle]), Write(name, middle, content[middle:])
        for piece in pieces:
            if piece.data:
                self.write(piece, lambda data: None)
        self.done(self.begin(Sync(name, directory=False)))

    def write(self, operation: Write, really: Callable[[bytes], object]) -> None:
        """Raises what SQLite is to get; what is written all the same is done."""
        try:
            moment = self.begin(operation)
        except PartialWrite as partial:
            some = evolve(operation, data=operation.data[: partial.size])
            really(some.data)
            if some.data:
                self.done(Moment(some, self.statement))
            raise partial.error from None
        really(operation.data)
        self.done(moment)

    def begin(self, operation: Operation) -> Moment:
        """Ask the plan. Raises what SQLite is to get."""
        moment = Moment(operation, self.statement)
        self._ask(moment)
        return moment

    def read(self) -> None:
        self._ask(None)

    def _ask(self, moment: Moment | None) -> None:
        if self.powered:
            try:
                self.plan(moment)
            except NoPowerError:
                self.powered = False
                self.off()
        if not self.powered:
            raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE if moment else apsw.SQLITE_IOERR_READ)


@contextmanager
def running(machine: Machine) -> Iterator[Machine]:
    """The machine's VFS is there for the block."""
    vfs = _Vfs(machine)
    try:
        yield machine
    finally:
        vfs.unregister()


class _Vfs(apsw.VFS):
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        super().__init__(machine.vfs, "unix")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 -- SQLite's
        if not flags[0] & _RECORDED or name is None:
            return apsw.VFSFile("unix", name, flags)
        path = name if isinstance(name, str) else name.filename()
        return _File(self._machine, path, name, flags)

    def xDelete(self, path: str, sync_directory: bool) -> None:  # noqa: N802 -- SQLite's
        moment = self._machine.begin(Delete(os.path.basename(path), sync_directory))
        super().xDelete(path, sync_directory)
        self._machine.done(moment)


class _File(apsw.VFSFile):
    def __init__(self, machine: Machine, path: str, name: str | apsw.URIFilename, flags: list[int]) -> None:
        self._machine = machine
        self._name = os.path.basename(path)
        new = not os.path.exists(path)
        moment = machine.begin(Create(self._name)) if new else None
        super().__init__("unix", name, flags)
        if moment is not None:
            machine.done(moment)
        # SQLite's own unix VFS syncs the directory with the first sync of a log or journal that it may make
        may_make = bool(flags[0] & apsw.SQLITE_OPEN_CREATE)
        self._directory_too = may_make and not flags[0] & apsw.SQLITE_OPEN_MAIN_DB

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 -- SQLite's
        self._machine.read()
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 -- SQLite's
        write = super().xWrite
        self._machine.write(Write(self._name, offset, bytes(data)), lambda some: write(some, offset))

    def xTruncate(self, size: int) -> None:  # noqa: N802 -- SQLite's
        moment = self._machine.begin(Truncate(self._name, size))
        super().xTruncate(size)
        self._machine.done(moment)

    def xSync(self, flags: int) -> None:  # noqa: N802 -- SQLite's
        moment = self._machine.begin(Sync(self._name, self._directory_too))
        self._directory_too = False
        self._machine.done(moment)
