"""What an error of SQLite means to the store, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from attrs import define

from aq.errors import (
    AsyncQueueError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from aq.storage.sqlite.connection import SqliteError

FULL: Final = "SQLITE_FULL"
DAMAGE: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
"""Beginnings of the codes that mean the file is not what was written to it."""
UNREADABLE: Final = (SqliteError, UnicodeDecodeError, msgspec.DecodeError)
"""What a call of SQLite raises, and what comes of a text that is not what was written."""
RESTORE: Final = (
    "keep a copy of it and of its -wal file, and restore a backup, or what sqlite3's .recover can read of it"
)
"""What to do about damage, for a person."""
NOT_SYNCED: Final = ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC")
"""The kernel may have dropped what it could not write, and says so only once."""


def what_to_do(error: Exception) -> str:
    """For a person, behind an error that an opening ended with."""
    if isinstance(error, SqliteError) and not error.code.startswith((*DAMAGE, "SQLITE_ERROR")):
        return ""
    return f"; nothing was written to it. If it was a store: {RESTORE}"


@define
class Health:
    """What has gone wrong for good with one opened store; shared by its threads."""

    damage: str | None = None
    remedy: str = f"stop the service, {RESTORE}"
    """What to do about the damage."""
    ended: str | None = None
    """Why nothing can be asked any more: a failed fsync, or the store is closed."""
    sync_failed: Callable[[], object] = lambda: None
    """Called at a failed fsync, for the next process to know."""

    def require_open(self) -> None:
        if self.ended is not None:
            raise StorageError(self.ended)

    def require_writable(self) -> None:
        self.require_open()
        if self.damage is not None:
            raise self._damaged()

    def _damaged(self) -> StorageCorruptError:
        told = f"the store is damaged, nothing is written to it: {self.damage}; {self.remedy}"
        return StorageCorruptError(told)

    def judge(self, error: SqliteError | UnicodeDecodeError | msgspec.DecodeError) -> AsyncQueueError:
        """The error to raise; what is for good is remembered."""
        if not isinstance(error, SqliteError):
            error = SqliteError("SQLITE_CORRUPT", f"a text is not what was written: {error}")
        if error.code.startswith(NOT_SYNCED):
            self.ended = f"the disk did not take a write, what is on it is uncertain: {error}"
            self.sync_failed()
            return StorageError(self.ended)
        if error.code.startswith(DAMAGE):
            self.damage = self.damage or str(error)
            return self._damaged()
        if error.code == FULL:
            return StorageFullError("no space left on the device of the store", retry_after=5)
        return StorageUnavailableError(f"the store failed for now: {error}")
