"""A surviving disk is opened like any store and looked through."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from attrs import frozen

from aq.errors import AsyncQueueError
from aq.storage.changes import PutSetting
from aq.storage.protocol import Storage
from aq.storage.sqlite import open_sqlite
from aq.storage.sqlite.connection import Connection
from tests.engine.support import inline
from tests.powercut.connection import CARELESS, ApswConnection, connecting
from tests.powercut.machine import STORE
from tests.powercut.platter import Files
from tests.storage.model import Model


class Violation(AssertionError):  # noqa: N818 -- a verdict
    """A promise was broken."""


@frozen
class Truth:
    """What a store held at some moment: a digest of each table's rows, and the model of it."""

    tables: Mapping[str, str]
    model: Model


def tables(db: Connection) -> Mapping[str, str]:
    """A digest of each table's rows."""
    names = [str(name) for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {name: _digest(db.execute(f'SELECT * FROM "{name}"')) for name in names}


def _digest(rows: Sequence[object]) -> str:
    return hashlib.blake2b(repr(sorted(rows, key=repr)).encode(), digest_size=12).hexdigest()


def looking(path: Path) -> ApswConnection:
    """A connection beside the store, past every machine."""
    return ApswConnection(str(path), read_only=True)


def put(files: Files, directory: Path) -> Path:
    """Lay the files of a disk into a new directory; returns the store's path."""
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory / STORE


@asynccontextmanager
async def sound(files: Files, directory: Path) -> AsyncIterator[Storage]:
    """The store on a disk. Raises Violation when it does not open, is not sound, or does not go on after."""
    path = put(files, directory)
    try:
        async with open_sqlite(str(path), connect=connecting(replaced=CARELESS), hop=inline) as storage:
            if storage.damage is not None:
                raise Violation(f"damaged: {storage.damage}")
            yield storage
            if wrong := await storage.audit():
                raise Violation(f"the audit says: {wrong[0]}")
            check_integrity(path)
            await storage.commit([[PutSetting("power", "is back")]], 0)
            if (await storage.settings())["power"] != "is back":
                raise Violation("it does not go on")
    except AsyncQueueError as error:
        raise Violation(f"it does not open or work: {error}") from error


async def judged(files: Files, directory: Path, allowed: Sequence[Truth]) -> Truth:
    """Which of the truths a disk holds. Raises Violation when it holds none, or is not sound."""
    async with sound(files, directory):
        with closing(looking(directory / STORE)) as db:
            found = tables(db)
        for truth in allowed:
            if truth.tables == found:
                return truth
        raise Violation(f"it is not what was acknowledged: {_different(found, allowed)}")


def check_integrity(path: Path) -> None:
    """Raises Violation."""
    with closing(looking(path)) as db:
        if (check := db.execute("PRAGMA integrity_check")) != [("ok",)]:
            raise Violation(f"the integrity check says: {check[0][0]}")


def _different(found: Mapping[str, str], allowed: Sequence[Truth]) -> str:
    return "; or ".join(
        "different in " + ", ".join(name for name in found if found[name] != truth.tables.get(name))
        for truth in allowed
    )
