"""The file before it is used: is it ours, of which version, whole?"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from threading import Thread
from typing import Final

from attrs import frozen

from aq.errors import StorageError
from aq.storage.sqlite.connection import Connect, Connection, SqliteError
from aq.storage.sqlite.failures import DAMAGE, Health
from aq.storage.sqlite.log import LogIndex

logger = logging.getLogger(__name__)

APPLICATION_ID: Final = int.from_bytes(b"aqdb")
"""In the file's header (bytes 68-71), so that tools and we can tell what it is."""
WAL_LIMIT: Final = 32 << 20
"""Bytes of write-ahead log after which the writer folds all of it into the file and cuts it off."""
CHECKED_AT_OPEN: Final = 64 << 20
"""Bytes of file up to which it is checked before it is used; a larger one is checked while it is in use."""
_OLDEST_SQLITE: Final = (3, 38, 0)
_CACHE_KIB: Final = 32 << 10
_INCREMENTAL: Final = 2
"""What SQLite calls `PRAGMA auto_vacuum = INCREMENTAL`."""


@frozen
class Migration:
    """One step of the schema: ``sql`` leads from version - 1 to ``version``."""

    version: int
    sql: str


def migrations() -> Sequence[Migration]:
    """The steps in order: ``migrations/NNNN_words.sql``, without a gap from 1."""
    texts = {
        int(match[1]): entry.read_text("utf-8")
        for entry in files("aq.storage").joinpath("migrations").iterdir()
        if (match := re.fullmatch(r"(\d{4})_\w+\.sql", entry.name))
    }
    found = [Migration(version, text) for version, text in sorted(texts.items())]
    if [step.version for step in found] != list(range(1, len(found) + 1)):
        raise StorageError("the migrations that came with this version of aq are not complete; reinstall it")
    return found


def open_writer(path: str, connect: Connect) -> Connection:
    """A connection that may write: refuses a foreign or newer file, migrates an older one.

    Raises StorageError for what a person must mend and SqliteError for the rest.
    """
    db = connect(path, read_only=False)
    try:
        version = version_of(db, path)
        if db.execute("PRAGMA auto_vacuum") != [(_INCREMENTAL,)]:  # saying it anew would be a commit
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        _migrate(db, version)
    except BaseException:
        db.close()
        raise
    return db


def roll_back(path: str, connect: Connect) -> None:
    """Undo what a cut left half done before the file had its write-ahead log; reading alone cannot."""
    db = connect(path, read_only=False)
    try:
        db.execute("SELECT 1 FROM sqlite_schema LIMIT 1")
    finally:
        db.close()


def renew_log(path: str, connect: Connect) -> None:
    """After a failed sync: the write-ahead log is written and synced again, before anything builds on it.

    What the kernel could not write stays readable and counts as written: this process finds it in the log, no
    later sync brings it to the disk, and what is committed after it would be lost behind the gap when the
    power goes. Raises as `open_writer` does.
    """
    if not os.path.exists(f"{path}-wal"):
        return
    db = connect(path, read_only=False)
    try:
        version_of(db, path)
        db.execute("BEGIN IMMEDIATE")
        db.rewrite_log()
        db.execute("ROLLBACK")
    finally:
        db.close()


def begin_log_anew(db: Connection) -> None:
    """Fold all of the log into the file: what is written to it from now on does not go with what was.

    Raises SqliteError, also when another program reads the file for so long that this cannot be.
    """
    if db.execute("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
        raise SqliteError("SQLITE_BUSY", "another program reads the file; it must end first")


def version_of(db: Connection, path: str) -> int:
    """The schema's version; 0 for a new file. Nothing is written to a file that is not ours."""
    library = db.execute("SELECT sqlite_version()")[0][0]
    if tuple(map(int, library.split(".")[:3])) < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise StorageError(f"this Python has SQLite {library}; aq needs {oldest} or newer")
    application = db.execute("PRAGMA application_id")[0][0]
    version: int = db.execute("PRAGMA user_version")[0][0]
    if application != APPLICATION_ID and db.execute("SELECT 1 FROM sqlite_schema LIMIT 1"):
        raise StorageError(f"{path} is a SQLite file of another program; choose another path")
    newest = len(migrations())
    if version > newest:
        raise StorageError(
            f"{path} was written by a newer aq (schema {version}, this one knows {newest}); upgrade aq"
        )
    return version


def _migrate(db: Connection, version: int) -> None:
    for step in migrations()[version:]:
        db.script(
            f"BEGIN IMMEDIATE;\n{step.sql}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {step.version};\nCOMMIT;"
        )


def quick_check(db: Connection) -> str | None:
    """The first damage that SQLite finds, or None. Reads the whole file."""
    try:
        found = db.execute("PRAGMA quick_check(1)")[0][0]
    except SqliteError as error:
        if error.code.startswith(DAMAGE):
            return str(error)
        raise
    return None if found == "ok" else str(found)


class Check:
    """The integrity check of one opening: before use for a small file, beside its use for a large one.

    It reads only, and its connection stays open until `close`: as long as there is one, no other that closes
    folds the log into the file. So nothing is written to a file that is not ours or is damaged. Raises
    StorageError and SqliteError.
    """

    def __init__(self, path: str, connect: Connect, health: Health, index: LogIndex) -> None:
        self._health = health
        self._db = connect(path, read_only=True)
        self._thread: Thread | None = None
        try:
            version_of(self._db, path)
            page_size: int = self._db.execute("PRAGMA page_size")[0][0]
            health.damage = index.damage(page_size)
            if os.path.getsize(path) <= CHECKED_AT_OPEN:
                self._run()
        except BaseException:
            self.close()
            raise

    def go_on(self, path: str) -> None:
        """Check a large file beside its use."""
        if os.path.getsize(path) > CHECKED_AT_OPEN:
            self._thread = Thread(target=self._run, name="aq-integrity-check", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._health.damage = self._health.damage or quick_check(self._db)
        except SqliteError as error:
            if error.code != "SQLITE_INTERRUPT":
                logger.warning("the integrity check could not read the file: %s", error)

    def close(self) -> None:
        with suppress(SqliteError):
            self._db.close()

    def join(self) -> None:
        """Blocks until the check has come to its end."""
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> None:
        """Blocks until a check that runs has given up."""
        while self._thread is not None and self._thread.is_alive():
            with suppress(SqliteError):
                self._db.interrupt()
            self._thread.join(0.05)
