"""The storage's few calls to SQLite, spoken to the library that comes with apsw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import apsw

from aq.storage.sqlite.connection import BUSY_TIMEOUT, Connection, Row, SqliteError, rewrite

CARELESS: Final = {"PRAGMA synchronous = FULL": "PRAGMA synchronous = OFF"}
"""For files that no power cut will ever meet."""
_CACHED_STATEMENTS: Final = 256


class ApswConnection:
    """A `Connection` over apsw.

    ``replaced`` gives other text for some statements; ``heard`` is told each one, and "close"; ``folds_at``
    is the number of pages of log after which a commit folds it into the file.
    """

    def __init__(
        self,
        path: str,
        *,
        read_only: bool = False,
        vfs: str = "unix",
        replaced: Mapping[str, str] = {},
        heard: Callable[[str], object] = lambda sql: None,
        folds_at: int = 1_000,
        rewrite: Callable[[str], object] = rewrite,
    ) -> None:
        self._path = path
        self._rewrite = rewrite
        self._folds_at = folds_at
        self._replaced = replaced
        self._heard = heard
        mode = (
            apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        )
        with _errors():
            self._connection = apsw.Connection(
                path, flags=mode, vfs=vfs, statementcachesize=_CACHED_STATEMENTS
            )
            self._connection.set_busy_timeout(int(1_000 * BUSY_TIMEOUT))
            self._connection.set_wal_hook(self._fold)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        self._heard(sql)
        with _errors():
            found: list[Row] = self._connection.execute(self._replaced.get(sql, sql), parameters).fetchall()
            return found

    def script(self, sql: str) -> None:
        self._heard(sql)
        with _errors():
            for _ in self._connection.execute(sql):
                pass

    def _fold(self, connection: apsw.Connection, name: str, pages: int) -> int:
        """What SQLite does after a commit by itself, where an error is no error of the commit.

        From within a commit apsw would raise it all the same.
        """
        if pages >= self._folds_at:
            with suppress(apsw.Error):
                connection.wal_checkpoint(name)
        return apsw.SQLITE_OK

    def rewrite_log(self) -> None:
        self._heard("rewrite the log")
        with _errors():
            self._rewrite(f"{self._path}-wal")

    def interrupt(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        """What SQLite lets pass here (a read-only connection cannot lock the file) is no error."""
        self._heard("close")
        with suppress(apsw.Error):
            self._connection.close(True)


def connecting(**options: Any) -> Callable[..., ApswConnection]:
    """A `Connect` that passes these options of `ApswConnection` on."""

    def connect(path: str, *, read_only: bool = False) -> ApswConnection:
        return ApswConnection(path, read_only=read_only, **options)

    return connect


class Passing:
    """A `Connection` that passes everything on."""

    def __init__(self, db: Connection, reading: bool) -> None:
        self.db = db
        self.reading = reading

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self.db.execute(sql, parameters)

    def script(self, sql: str) -> None:
        self.db.script(sql)

    def rewrite_log(self) -> None:
        self.db.rewrite_log()

    def interrupt(self) -> None:
        self.db.interrupt()

    def close(self) -> None:
        self.db.close()


class Doubtful(Passing):
    """A commit is done, and where ``fails`` says so SQLite says that it failed."""

    def __init__(self, db: Connection, reading: bool, fails: Callable[[], bool]) -> None:
        super().__init__(db, reading)
        self._fails = fails

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        rows = super().execute(sql, parameters)
        if sql == "COMMIT" and not self.reading and self._fails():
            raise SqliteError("SQLITE_IOERR_SHMMAP", "after the commit")
        return rows


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        code = getattr(error, "extendedresult", 0) or getattr(error, "result", 0)
        names = apsw.mapping_extended_result_codes, apsw.mapping_result_codes
        name = next((str(known[code]) for known in names if code in known), "SQLITE_MISUSE")
        raise SqliteError(name, str(error)) from error
