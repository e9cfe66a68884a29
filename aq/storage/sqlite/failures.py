"""What an error of SQLite means to the store, in one place."""

from __future__ import annotations

from typing import Final

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
NOT_SYNCED: Final = ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC")
"""The kernel may have dropped what it could not write, and says so only once."""


@define
class Health:
    """What has gone wrong for good with one opened store; shared by its threads."""

    damage: str | None = None
    ended: str | None = None
    """Why nothing can be asked any more: a failed fsync, or the store is closed."""

    def require_open(self) -> None:
        if self.ended is not None:
            raise StorageError(self.ended)

    def require_writable(self) -> None:
        self.require_open()
        if self.damage is not None:
            raise StorageCorruptError(f"the store is damaged, nothing is written to it: {self.damage}")

    def judge(self, error: SqliteError) -> AsyncQueueError:
        """The error to raise; what is for good is remembered."""
        if error.code.startswith(NOT_SYNCED):
            self.ended = f"the disk did not take a write, what is on it is uncertain: {error}"
            return StorageError(self.ended)
        if error.code.startswith(DAMAGE):
            self.damage = self.damage or str(error)
            return StorageCorruptError(f"the store is damaged: {error}")
        if error.code == FULL:
            return StorageFullError("no space left on the device of the store", retry_after=5)
        return StorageUnavailableError(f"the store failed for now: {error}")
