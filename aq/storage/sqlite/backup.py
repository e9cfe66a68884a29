"""A copy of a store, of one moment, made beside whoever uses it."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from threading import Event
from typing import Final

from aq.errors import StorageError
from aq.storage.sqlite.connection import Connect, Connection, SqliteError, StdlibConnection
from aq.storage.sqlite.failures import what_to_do
from aq.storage.sqlite.lock import StoreLock
from aq.storage.sqlite.schema import quick_check, version_of

_LOGS: Final = ("-wal", "-journal")
"""What SQLite takes for a part of the store beside it, by the ends of the names."""
_AGAIN_SECONDS: Final = 0.05


class Backup:
    """Copies a store to a file of its own; `run` once.

    A connection of its own reads, so a service may use the store meanwhile: what is written then is not in
    the copy, and the log grows until it is done. The copy is checked, on the disk and its owner's only before
    it gets its name; ``replace`` lets it take the name of another file. Whatever happens, nothing else is
    left behind, unless the process is killed. ``connect`` stands for another SQLite library.
    """

    def __init__(
        self, path: str, target: str, *, replace: bool = False, connect: Connect = StdlibConnection
    ) -> None:
        self._path, self._target = os.path.realpath(path), os.path.abspath(target)
        self._beside = f"{self._target}.{os.getpid()}.partial"
        self._replace = replace
        self._connect = connect
        self._db: Connection | None = None
        self._ended = Event()

    @property
    def written(self) -> int:
        """Bytes so far."""
        with suppress(OSError):
            return os.path.getsize(self._beside)
        return 0

    def run(self) -> int:
        """Blocks until it is done; its size in bytes. Raises StorageError."""
        try:
            self._require_free()
            os.close(os.open(self._beside, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            try:
                self._copy()
                self._check()
                self._name()
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(self._beside)
            return os.path.getsize(self._target)
        except SqliteError as error:
            raise StorageError(f"cannot back up {self._path}: {error}{what_to_do(error)}") from error
        except OSError as error:
            raise StorageError(f"cannot write {self._target}: {error.strerror}") from error
        finally:
            self._ended.set()

    def stop(self) -> None:
        """From another thread: makes `run` fail where it is still copying, and waits for its end."""
        while not self._ended.wait(_AGAIN_SECONDS):
            if (db := self._db) is not None:
                db.interrupt()

    def _require_free(self) -> None:
        """Raises StorageError where there is nothing to copy, or a copy may not be put."""
        if not os.path.exists(self._path):
            raise StorageError(f"there is no store at {self._path}")
        if os.path.realpath(self._target) in {self._path + end for end in ("", "-shm", ".lock", *_LOGS)}:
            raise StorageError(f"{self._target} is the store itself or belongs to it; choose another name")
        for end in _LOGS:
            if os.path.exists(beside := self._target + end) and os.path.getsize(beside):
                raise StorageError(f"{beside} would be taken for a part of the copy; move it away first")
        if os.path.exists(self._target):
            if not self._replace:
                raise StorageError(f"{self._target} is there already")
            if os.path.exists(f"{self._target}.lock"):
                StoreLock(self._target).release()  # in use by nobody, or an error

    def _copy(self) -> None:
        with closing(self._connect(self._path, read_only=True)) as db:
            version_of(db, self._path)
            self._db = db
            try:
                db.execute("VACUUM INTO ?", (self._beside,))
            finally:
                self._db = None

    def _check(self) -> None:
        with closing(self._connect(self._beside, read_only=True)) as db:
            if (damage := quick_check(db)) is not None:
                raise StorageError(f"the copy is damaged, and so may be the store: {damage}")
        _sync(self._beside)

    def _name(self) -> None:
        """The new name is on the disk when this returns."""
        if self._replace:
            os.replace(self._beside, self._target)
        else:
            os.link(self._beside, self._target)  # never over another file, not even one that came just now
        _sync(os.path.dirname(self._target))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
