"""The only writer. Durable before the answer, and many at a time.

The committer takes what has gathered while its last transaction ran, commits it as one, then answers everyone
(group commit). Its inbox is bounded: when it is full, supervisors wait, their mailboxes fill, and callers are
refused. Answers are given by `Write.settle`, which never blocks, so supervisor and committer cannot wait for
each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import trio

from aq.actors.messages import Reply
from aq.actors.patience import PAUSE, patiently
from aq.clock import ServiceClock
from aq.errors import DrainingError, StorageCorruptError, StorageFullError
from aq.storage.answers import Answer, Applied
from aq.storage.changes import Insert, Unit
from aq.storage.protocol import Storage
from aq.task import QueueKey

logger = logging.getLogger(__name__)

MAX_UNITS: Final = 512
"""Most units in one transaction."""
MAX_BYTES: Final = 8 << 20
"""Payload bytes after which a transaction is full."""
INBOX: Final = 1024
"""Writes that may wait for the next transaction; beyond, their senders wait."""


class Write(msgspec.Struct, frozen=True):
    """One unit on its way to disk.

    ``settle`` is called once, with the answer or with the error that kept it from being written; it must
    not block or raise. A write that ``insists`` stands for something that happened already (an attempt
    ended): it is repeated while the disk is full. Any other is then refused, so that its caller hears of
    it.
    """

    unit: Unit
    settle: Callable[[Answer | Exception], None]
    insists: bool = False

    @property
    def payload_bytes(self) -> int:
        total = 0
        for change in self.unit:
            if type(change) is Insert:
                total += len(change.payload)
        return total


class Committer:
    """Commits writes in the order in which they were sent."""

    def __init__(self, storage: Storage, clock: ServiceClock) -> None:
        self._storage = storage
        self._clock = clock
        self._send, self._receive = trio.open_memory_channel[Write](INBOX)
        self.broken: StorageCorruptError | None = None
        """Set once the storage is damaged: nothing is written any more."""
        self.full: StorageFullError | None = None
        """Set while there is no space left on the disk."""
        self._wakes: dict[QueueKey, Callable[[], None]] = {}
        self._batch: list[Write] = []
        """What is being committed, or insists while the disk is full."""
        self._closed = False
        self.commits = 0
        self.units = 0

    @property
    def waiting(self) -> int:
        return self._receive.statistics().current_buffer_used

    async def write(self, write: Write) -> None:
        """Send a write; waits while the inbox is full. Raises DrainingError after the end."""
        if self._closed:
            raise DrainingError
        try:
            self._send.send_nowait(write)
        except trio.WouldBlock:
            await self._send.send(write)

    async def commit(
        self, unit: Unit, *, insists: bool = True, then: Callable[[Applied], object] = lambda answer: None
    ) -> Answer:
        """Send a unit and wait for its answer.

        ``then`` is called in the moment in which the unit is known to be applied, also when whoever waits has
        been cancelled meanwhile; it must not block or raise. An empty unit is a barrier: when it is answered,
        all that was sent before it is settled.
        """
        reply = Reply[Answer]()

        def settle(answer: Answer | Exception) -> None:
            if isinstance(answer, Applied):
                then(answer)
            reply.settle(answer)

        await self.write(Write(unit, settle, insists))
        return await reply.wait()

    def when_writable(self, key: QueueKey, wake: Callable[[], None]) -> None:
        """Call ``wake`` once there is space on the disk again."""
        self._wakes[key] = wake

    async def run(self) -> None:
        """Serve until cancelled. Raises StorageError when the storage cannot be used any more.

        In the end whoever still waits for a write is told that it is not known to have happened.
        """
        try:
            while True:
                self._batch = await self._gather()
                self._batch = await self._commit(self._batch)
                if self.full:
                    await trio.sleep(PAUSE)
        finally:
            self._closed = True
            with suppress(trio.WouldBlock):
                while True:
                    self._batch.append(self._receive.receive_nowait())
            _settle(self._batch, DrainingError())

    async def _gather(self) -> list[Write]:
        """What is there to commit. While the disk is full that is all: who asks is told so, none waits."""
        batch = self._batch
        if not batch and not self.full:
            batch = [await self._receive.receive()]
        room = MAX_BYTES - sum(write.payload_bytes for write in batch)
        while self.full or (room > 0 and len(batch) < MAX_UNITS):
            try:
                write = self._receive.receive_nowait()
            except trio.WouldBlock:
                break
            batch.append(write)
            room -= write.payload_bytes
        return batch

    async def _commit(self, batch: list[Write]) -> list[Write]:
        """Commit and settle as many as a transaction takes, none while the disk is full; returns the rest.

        With an empty batch it is a probe.
        """
        taken = _first(batch)
        units = [write.unit for write in taken]
        try:  # again and again while it is not known whether it happened: rule 3 of the storage
            answers = await patiently(lambda: self._storage.commit(units, self._clock.now()))
        except StorageFullError as error:
            if self.full is None:
                logger.warning("%s: writes are refused until there is", error)
            self.full = error
            _settle([write for write in batch if not write.insists], error)
            kept = [write for write in batch if write.insists]
            return kept if any(write.unit for write in kept) else _passed(kept)
        except StorageCorruptError as error:
            self.broken = error
            _settle([write for write in batch if write.unit], error)
            return _passed([write for write in batch if not write.unit])
        self.commits += 1
        self.units += len(taken)
        self._now_writable()
        for write, answer in zip(taken, answers, strict=True):
            write.settle(answer)
        return batch[len(taken) :]

    def _now_writable(self) -> None:
        if self.full is not None:
            logger.warning("there is space on the disk again")
            self.full = None
            while self._wakes:
                self._wakes.popitem()[1]()


def _first(batch: Sequence[Write]) -> Sequence[Write]:
    """As many as a transaction takes; at least one, if there is one."""
    room = MAX_BYTES
    for place, write in enumerate(batch[:MAX_UNITS]):
        if room <= 0:
            return batch[:place]
        room -= write.payload_bytes
    return batch[:MAX_UNITS]


def _settle(writes: Sequence[Write], error: Exception) -> None:
    for write in writes:
        write.settle(error)


def _passed(barriers: Sequence[Write]) -> list[Write]:
    """Nothing that was sent before these is unsettled. Returns what is left of them: none."""
    for barrier in barriers:
        barrier.settle(Applied())
    return []
