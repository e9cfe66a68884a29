"""The simulated disk keeps the promises of a storage, and loses in a power cut what it may lose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio

from aq.errors import StorageError, StorageFullError, StorageUnavailableError
from aq.sim.disk import MemoryDisk, Weather
from aq.sim.trace import Trace
from aq.storage.changes import Insert, Unit
from aq.storage.conformance import CASES, DURABLE_CASES, Case
from aq.storage.conformance.bench import MAIL, NOW, Bench
from aq.storage.protocol import Storage


def disk_in(weather: Weather, seed: int = 0) -> MemoryDisk:
    return MemoryDisk(Random(seed), weather, Trace())


@pytest.mark.parametrize("case", [*CASES, *DURABLE_CASES], ids=lambda case: case.__name__)
async def test_conformance(autojump_clock: object, case: Case) -> None:
    disk = disk_in(Weather(commit_takes=(0, 0.01), read_takes=(0, 0.01)))

    @asynccontextmanager
    async def factory() -> AsyncIterator[Storage]:
        async with disk.open() as storage:
            yield storage

    await case(factory)


async def inserted(storage: Storage) -> tuple[Bench, list[Unit]]:
    """A queue, and units for two tasks that are still to be committed."""
    bench = Bench(storage)
    await bench.make(MAIL)
    return bench, [[Insert(bench.task(), b"{}")], [Insert(bench.task(), b"{}")]]


async def count(disk: MemoryDisk) -> int:
    async with disk.open() as storage:
        found = await storage.queue(MAIL)
        return 0 if found is None else found.counts.total


async def test_what_is_under_way_in_a_power_cut_is_there_as_a_whole_or_not_at_all(
    autojump_clock: object,
) -> None:
    counts = set()
    for seed in range(20):
        disk = disk_in(Weather(commit_takes=(1,)), seed)
        async with trio.open_nursery() as nursery, disk.open() as storage:
            _, units = await inserted(storage)

            async def commit(storage: Storage = storage, units: list[Unit] = units) -> None:
                with pytest.raises(StorageError):
                    await storage.commit(units, NOW)

            nursery.start_soon(commit)
            await trio.sleep(0.1)
            disk.crash()
            with pytest.raises(StorageError):
                await storage.queue(MAIL)
        counts.add(await count(disk))
    assert counts == {0, 2}


async def test_what_a_commit_returned_for_survives(autojump_clock: object) -> None:
    disk = disk_in(Weather())
    async with disk.open() as storage:
        _, units = await inserted(storage)
        await storage.commit(units, NOW)
        disk.crash()
    assert await count(disk) == 2


@pytest.mark.parametrize("weather", [Weather(fails=1), Weather(in_doubt=1)])
async def test_a_commit_in_doubt_takes_effect_once(autojump_clock: object, weather: Weather) -> None:
    disk = disk_in(Weather())
    async with disk.open() as storage:
        _, units = await inserted(storage)
        disk.weather = weather
        with pytest.raises(StorageUnavailableError):
            await storage.commit(units, NOW)
        happened = (await storage.task(_id(units[0]))) is not None
        assert happened == bool(weather.in_doubt)
        disk.heal()
        await storage.commit(units, NOW)
    assert await count(disk) == 2


async def test_while_it_is_full_reads_go_on(autojump_clock: object) -> None:
    disk = disk_in(Weather(full=[(1, 2)]))
    async with disk.open() as storage:
        _, units = await inserted(storage)
        await trio.sleep_until(1)
        with pytest.raises(StorageFullError):
            await storage.commit(units, NOW)
        assert await storage.queue(MAIL) is not None
        await trio.sleep_until(2)
        await storage.commit(units, NOW)
    assert await count(disk) == 2


def _id(unit: Unit) -> str:
    (insert,) = unit
    assert isinstance(insert, Insert)
    return insert.task.id
