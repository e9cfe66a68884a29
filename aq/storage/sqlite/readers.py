"""A few read-only connections, each used by one thread at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

import trio

from aq.storage.sqlite.connection import Connect, Connection, SqliteError
from aq.storage.sqlite.failures import UNREADABLE, Health

READERS: Final = 3
"""Reads that run at once; further ones wait their turn."""
_CACHE_KIB: Final = 8 << 10

T = TypeVar("T")
Hop: TypeAlias = Callable[..., Awaitable[Any]]
"""Calls a blocking function somewhere else, as `trio.to_thread.run_sync` does."""


class Readers:
    """Runs reads. Connections are made when they are first needed, and again after an error."""

    def __init__(self, path: str, connect: Connect, health: Health, hop: Hop) -> None:
        self._path = path
        self._hop = hop
        self._connect = connect
        self._health = health
        self._free: list[Connection] = []
        self._limiter = trio.CapacityLimiter(READERS)
        self._closing = trio.Lock()

    async def run(self, read: Callable[[Connection], T]) -> T:
        """Raises what `Health.judge` makes of an error. Waits for a read that began, even when cancelled."""
        self._health.require_open()
        result: T = await self._hop(self._run, read, limiter=self._limiter)
        return result

    async def aclose(self) -> None:
        """Wait for the reads that run, then let go of every connection. Idempotent."""
        places = [object() for _ in range(READERS)]
        with trio.CancelScope(shield=True):
            async with self._closing:
                for place in places:
                    await self._limiter.acquire_on_behalf_of(place)
                while self._free:
                    _close(self._free.pop())
                for place in places:
                    self._limiter.release_on_behalf_of(place)

    def _run(self, read: Callable[[Connection], T]) -> T:
        self._health.require_open()
        db = None
        try:
            db = self._free.pop() if self._free else self._open()
            result = read(db)
        except BaseException as error:
            if db is not None:
                _close(db)
            if isinstance(error, UNREADABLE):
                raise self._health.judge(error) from error
            raise
        self._free.append(db)
        return result

    def _open(self) -> Connection:
        db = self._connect(self._path, read_only=True)
        try:
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        except BaseException:
            _close(db)
            raise
        return db


def _close(db: Connection) -> None:
    with suppress(SqliteError):
        db.close()
