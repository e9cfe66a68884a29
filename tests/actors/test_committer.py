"""The committer beside a disk that is full: nobody waits to be told, whatever is kept to be repeated."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from aq.actors.committer import MAX_BYTES, MAX_UNITS, Committer
from aq.clock import ServiceClock
from aq.errors import StorageFullError
from aq.instants import Instant
from aq.storage.answers import Answer
from aq.storage.changes import Insert, PutSetting, Unit
from aq.storage.conformance.bench import Bench
from aq.storage.memory import MemoryStorage

MIB = 1 << 20


class Full(MemoryStorage):
    full = True

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        if self.full:
            raise StorageFullError("no space left")
        sizes = [len(change.payload) for unit in units for change in unit if isinstance(change, Insert)]
        self.sizes.append((len(units), sum(sizes)))
        return await super().commit(units, now)


@pytest.mark.parametrize("kept", [7, 9, 2 * MAX_BYTES // MIB + 1])
async def test_whatever_is_kept_for_later_who_asks_is_told_at_once(autojump_clock: object, kept: int) -> None:
    storage = Full()
    committer = Committer(storage, ServiceClock())
    bench = Bench(storage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        for _ in range(kept):
            nursery.start_soon(committer.commit, [Insert(bench.task(), b" " * MIB)])
        await trio.sleep(1)
        with trio.fail_after(1), pytest.raises(StorageFullError):
            await committer.commit([PutSetting("a", "b")], insists=False)
        storage.full = False
        await committer.commit(())
        assert sum(units for units, _ in storage.sizes) >= kept
        assert max(units for units, _ in storage.sizes) <= MAX_UNITS
        assert max(size for _, size in storage.sizes) <= MAX_BYTES + MIB
        nursery.cancel_scope.cancel()
