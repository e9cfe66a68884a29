"""The few calls that the storage makes to SQLite, so that another build of it can stand behind them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote

BUSY_TIMEOUT: Final = 1.0
"""Seconds to wait for a lock that somebody else (a backup, a person with a shell) holds on the file."""
_CACHED_STATEMENTS: Final = 256
_PIECE: Final = 1 << 20

Row: TypeAlias = tuple[Any, ...]


class SqliteError(Exception):
    """A call failed; ``code`` is SQLite's name of the extended result code, as ``SQLITE_IOERR_FSYNC``."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"{message} ({code})")


class Connection(Protocol):
    """One connection, used by one thread at a time. Every call raises SqliteError."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement to its end and give all its rows. No transaction is begun behind one's back."""
        ...

    def script(self, sql: str) -> None:
        """Run several statements."""
        ...

    def rewrite_log(self) -> None:
        """Write every byte of the write-ahead log once more, and sync them; in a write transaction only."""
        ...

    def interrupt(self) -> None:
        """Make the call that another thread is in fail with SQLITE_INTERRUPT."""
        ...

    def close(self) -> None:
        """Roll back what is not committed, and let go."""
        ...


Connect: TypeAlias = Callable[..., Connection]
"""Called as ``connect(path, read_only=False)``; a connection that may write makes the file."""


class StdlibConnection:
    """A `Connection` over the standard library's sqlite3."""

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self._path = path
        if not read_only:
            _make_private(path)
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(path)}?mode={'ro' if read_only else 'rwc'}",
                uri=True,
                timeout=BUSY_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=_CACHED_STATEMENTS,
            )
        except sqlite3.Error as error:
            raise _normalised(error) from error

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise _normalised(error) from error

    def script(self, sql: str) -> None:
        try:
            self._connection.executescript(sql)
        except sqlite3.Error as error:
            raise _normalised(error) from error

    def rewrite_log(self) -> None:
        try:
            rewrite(f"{self._path}-wal")
        except OSError as error:
            raise SqliteError("SQLITE_IOERR_FSYNC", str(error)) from error

    def interrupt(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        try:
            self._connection.close()
        except sqlite3.Error as error:
            raise _normalised(error) from error


def _make_private(path: str) -> None:
    """Make the file, where there is none, for its owner only; what SQLite puts beside it is as it is."""
    with suppress(OSError):  # it is there, or cannot be made: SQLite says that better
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def rewrite(path: str) -> None:
    """Every byte of a file, where it is, and on the disk. Raises OSError."""
    with open(path, "r+b") as file:
        while piece := file.read(_PIECE):
            file.seek(-len(piece), os.SEEK_CUR)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _normalised(error: sqlite3.Error) -> SqliteError:
    if str(error).startswith("Could not decode"):  # Python's own error: a text that is no UTF-8
        return SqliteError("SQLITE_CORRUPT", str(error))
    return SqliteError(getattr(error, "sqlite_errorname", None) or "SQLITE_MISUSE", str(error))
