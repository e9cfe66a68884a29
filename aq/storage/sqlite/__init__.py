"""The store in one SQLite file (with its ``-wal``, ``-shm`` and ``.lock`` beside it).

    connection   the calls made to SQLite, and its errors by name
    lock         one process at a time        place      are the files still those that were opened?
    schema       is the file ours, of which version, whole? migrations
    statements   SQL that reads       bulk     SQL that writes     rows    domain values as rows, and back
    writer       the one connection that commits:   before   what it finds      tasks   how it writes them
    readers      a few connections that read:       reads, lists, failed, windows, audit   what they read
    failures     what an error means      backup   a copy of one moment

WAL journal, synchronous=FULL: a commit is on the disk before it returns.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import trio

from aq.apikey import ApiKey
from aq.errors import StorageError
from aq.instants import Instant
from aq.schedule import Schedule
from aq.storage.answers import (
    Answer,
    Backlog,
    Claimed,
    Expiring,
    Failures,
    Floor,
    StoredTask,
    TaskFilter,
    TaskPage,
    Window,
)
from aq.storage.changes import Unit
from aq.storage.protocol import Traits
from aq.storage.sqlite import reads
from aq.storage.sqlite.audit import audit
from aq.storage.sqlite.connection import Connect, SqliteError, StdlibConnection
from aq.storage.sqlite.failed import failures_by_kind
from aq.storage.sqlite.failures import UNREADABLE, Health, what_to_do
from aq.storage.sqlite.lists import count_tasks, list_tasks
from aq.storage.sqlite.lock import StoreLock
from aq.storage.sqlite.log import LogIndex
from aq.storage.sqlite.place import require_writable
from aq.storage.sqlite.readers import Hop, Readers
from aq.storage.sqlite.schema import Check, begin_log_anew, renew_log, roll_back
from aq.storage.sqlite.writer import Writer
from aq.task import Environment, Queue, QueueKey, Status, Task


@asynccontextmanager
async def open_sqlite(
    path: str, *, connect: Connect = StdlibConnection, hop: Hop = trio.to_thread.run_sync
) -> AsyncIterator[SqliteStorage]:
    """Open the store at a path, making it when it is not there.

    Raises StorageError, saying what to do, when it cannot be used: in use by another process, not ours, of a
    newer version, not readable or writable. A file up to 64 MiB is checked for damage before it is used, a
    larger one beside its use (rule 15). ``connect`` and ``hop`` stand for another SQLite library and another
    way to call it than in threads; a simulation gives its own.
    """
    storage = await hop(_open, path, connect, hop)
    try:
        yield storage
    finally:
        await storage.aclose()


def _open(path: str, connect: Connect, hop: Hop) -> SqliteStorage:
    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    if os.path.isdir(path):
        raise StorageError(f"cannot open {path}: it is a directory; name a file in it")
    if not os.path.isdir(directory):
        raise StorageError(f"cannot open {path}: the directory {directory} does not exist; create it first")
    require_writable(path)
    with ExitStack() as held:
        lock = StoreLock(path)
        held.callback(lock.release)
        index = LogIndex(path)
        held.callback(index.close)
        health = Health(sync_failed=lock.sync_failed)
        writer = Writer(path, connect, health)
        try:
            check = _looked_at(path, connect, health, writer, lock, index)
        except UNREADABLE as error:
            if isinstance(error, SqliteError):
                health.judge(error)
            raise StorageError(f"cannot open {path}: {error}{what_to_do(error)}") from error
        return SqliteStorage(writer, Readers(path, connect, health, hop), check, held.pop_all(), health, hop)


def _looked_at(
    path: str, connect: Connect, health: Health, writer: Writer, lock: StoreLock, index: LogIndex
) -> Check:
    """The file is read first, and written to only if it is ours and not damaged; a new one is made."""
    fresh = not os.path.exists(path) or not os.path.getsize(path)
    if fresh:
        if os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal"):
            raise StorageError(
                f"{path} is empty or gone, but its write-ahead log is there: put the file back where it was"
                f" (SQLite would throw the log away), or move {path}-wal aside to begin anew"
            )
        writer.open()
    elif os.path.exists(f"{path}-journal"):
        roll_back(path, connect)
    try:
        check = Check(path, connect, health, index)
    except BaseException:
        writer.close()
        raise
    try:
        if health.damage is None:
            if not fresh:
                if lock.not_synced:
                    renew_log(path, connect)
                    lock.synced()
                db = writer.open()
                if index.rest:
                    begin_log_anew(db)
            check.go_on(path)
    except BaseException:
        writer.close()
        check.close()
        raise
    return check


class SqliteStorage:
    """A `aq.storage.protocol.Storage` in one file; opened by `open_sqlite`."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        check: Check,
        held: ExitStack,
        health: Health,
        hop: Hop,
    ) -> None:
        self._hop = hop
        self._writer = writer
        self._readers = readers
        self._check = check
        self._held = held
        """Let go of when the last connection is closed."""
        self._health = health
        self._one_writer = trio.CapacityLimiter(1)

    @property
    def traits(self) -> Traits:
        return Traits(durable=True, shared=False)

    @property
    def damage(self) -> str | None:
        return self._health.damage

    async def checked(self) -> None:
        """Waits for the end of the integrity check that the opening began."""
        await self._hop(self._check.join)

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        self._health.require_writable()
        answers: Sequence[Answer] = await self._hop(self._writer.commit, units, now, limiter=self._one_writer)
        return answers

    async def task(self, task_id: str) -> StoredTask | None:
        return await self._readers.run(partial(reads.task, task_id=task_id))

    async def list_tasks(
        self,
        which: TaskFilter,
        *,
        limit: int,
        offset: int = 0,
        before: str | None = None,
        after: str | None = None,
    ) -> TaskPage:
        read = partial(list_tasks, which=which, limit=limit, offset=offset, before=before, after=after)
        return await self._readers.run(read)

    async def count_tasks(self, which: TaskFilter) -> int:
        return await self._readers.run(partial(count_tasks, which=which))

    async def failures(
        self, environment: Environment, queues: tuple[str, ...] | None, *, most: int
    ) -> Failures:
        which = TaskFilter(environment, queues, Status.FAILED)
        return await self._readers.run(partial(failures_by_kind, which=which, most=most))

    async def window(
        self, key: QueueKey, now: Instant, limit: int, aside: Sequence[str] = (), aside_limit: int = 0
    ) -> Window:
        read = partial(reads.window, key=key, now=now, limit=limit, aside=aside, aside_limit=aside_limit)
        return await self._readers.run(read)

    async def expiring(self, key: QueueKey, now: Instant, limit: int) -> Expiring:
        return await self._readers.run(partial(reads.expiring, key=key, now=now, limit=limit))

    async def head_of(self, key: QueueKey, ordering_key: str) -> str | None:
        return await self._readers.run(partial(reads.head_of, key=key, ordering_key=ordering_key))

    async def active(self, key: QueueKey, limit: int) -> Sequence[Task]:
        return await self._readers.run(partial(reads.active, key=key, limit=limit))

    async def queue(self, key: QueueKey) -> Queue | None:
        return await self._readers.run(partial(reads.queue, key=key))

    async def queues(self, environment: Environment | None = None) -> Sequence[Queue]:
        return await self._readers.run(partial(reads.queues, environment=environment))

    async def backlogs(
        self, environment: Environment, now: Instant, name: str | None = None
    ) -> Mapping[str, Backlog]:
        return await self._readers.run(partial(reads.backlogs, environment=environment, now=now, name=name))

    async def claim(self, environment: Environment, name: str, now: Instant) -> Claimed | None:
        return await self._readers.run(partial(reads.claim, environment=environment, name=name, now=now))

    async def api_keys(self) -> Sequence[ApiKey]:
        return await self._readers.run(reads.api_keys)

    async def schedule(self, schedule_id: str) -> Schedule | None:
        return await self._readers.run(partial(reads.schedule, schedule_id=schedule_id))

    async def schedules(self, environment: Environment | None = None) -> Sequence[Schedule]:
        return await self._readers.run(partial(reads.schedules, environment=environment))

    async def audit(self) -> Sequence[str]:
        return await self._readers.run(audit)

    async def settings(self) -> Mapping[str, str]:
        return await self._readers.run(reads.settings)

    async def floor(self) -> Floor:
        return await self._readers.run(reads.floor)

    async def aclose(self) -> None:
        """Waits for what runs. The last connection to close folds the write-ahead log into the file.

        Of a damaged store that is one that only reads, and folds nothing.
        """
        self._health.ended = self._health.ended or "the store is closed"
        with trio.CancelScope(shield=True):
            await self._hop(self._check.stop)
            await self._readers.aclose()
            if self._health.damage is None:
                self._check.close()
            await self._hop(self._writer.close, limiter=self._one_writer)
            self._check.close()
        self._held.close()
