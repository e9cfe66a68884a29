"""After a crash at any moment: what was acknowledged is there, what was counted is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from attrs import evolve

from aq.delivery.protocol import Delivery
from aq.engine import Engine
from aq.errors import AsyncQueueError, ConflictError, NotFoundError, StorageFullError, StorageUnavailableError
from aq.instants import Instant
from aq.lifecycle import UNKNOWNS_FORGIVEN
from aq.outcome import ErrorType, Outcome
from aq.queues import Retry
from aq.storage.answers import Answer, TaskFilter, Window
from aq.storage.changes import Unit
from aq.storage.memory import MemoryStorage
from aq.storage.sqlite import open_sqlite
from aq.task import Environment, FailureReason, NewTask, Status
from tests.engine.storages import Faulty
from tests.engine.support import (
    BACK,
    FAILURE,
    GONE,
    SUCCESS,
    URL,
    Gate,
    KilledError,
    Mortal,
    Receiver,
    ended,
    inline,
    settled,
    submit,
    submit_many,
    until_killed,
    up,
    wait_for,
)


async def test_an_attempt_in_flight_is_unknown_costs_nothing_and_is_due_at_once(
    autojump_clock: object, tmp_path: Path
) -> None:
    path, gate = str(tmp_path / "aq.db"), Gate()
    async with open_sqlite(path, hop=inline) as storage, until_killed(storage, gate) as engine:
        task = await submit(engine, max_retries=0)
        await settled()
        assert gate.began == [task.id]
    await trio.sleep(50)
    receiver = Receiver()
    async with open_sqlite(path, hop=inline) as storage, up(storage, receiver) as engine:
        await settled()
        view = await engine.get(task.id)
    assert receiver.began == [50]
    one, two = view.attempts
    assert (one.number, one.status, one.error_type) == (1, "unknown", ErrorType.UNKNOWN)
    assert "stopped" in (one.error or "")
    assert (two.number, two.status) == (2, "success")
    assert (view.task.status, view.task.failures) == (Status.COMPLETED, 0)


@pytest.mark.parametrize("retries", [0, 2])
async def test_a_task_that_kills_the_process_each_time_ends_failed(
    autojump_clock: object, retries: int
) -> None:
    memory = MemoryStorage()
    async with until_killed(memory) as engine:
        await engine.queues.create("q", paused=True, retry_jitter=0)
        task = await submit(engine, max_retries=retries, callback_url=BACK)
    began = 0
    for _ in range(20):
        gate = Gate()
        async with until_killed(memory, gate) as engine:
            await engine.queues.resume("q")
            await trio.sleep(10)  # the wait of a retry that counts
            began += task.id in gate.began
            view = await engine.get(task.id)
            if view.task.status.final:
                break
    assert began == UNKNOWNS_FORGIVEN + 1 + retries == len(view.attempts)
    assert {attempt.status for attempt in view.attempts} == {"unknown"}
    assert view.task.failure_reason is FailureReason.EXHAUSTED
    assert gate.began[-1] == view.task.callback_id


async def test_an_end_in_between_makes_the_process_trusted_again(autojump_clock: object) -> None:
    memory = MemoryStorage()
    async with until_killed(memory) as engine:
        await engine.queues.create("q", paused=True, retry_jitter=0, retry_delay=0)
        task = await submit(engine, max_retries=1)
    for life in range(2 * UNKNOWNS_FORGIVEN - 1):
        gate = Gate()
        async with until_killed(memory, gate) as engine:
            await engine.queues.resume("q")
            await settled()
            if life == UNKNOWNS_FORGIVEN - 1:
                await gate.end(task, FAILURE)
    async with up(memory) as engine:
        assert (await ended(engine, task)).task.status is Status.COMPLETED


# -- any commit ---------------------------------------------------------------------------------------------
class Workload:
    """A bit of everything, and what has been acknowledged of it."""

    def __init__(self) -> None:
        self.made: dict[str, NewTask] = {}
        self.deleting: set[str] = set()
        """Whether it was done is known of the `deleted`."""
        self.deleted: set[str] = set()
        self.ended: Counter[str] = Counter()
        self.receiver = Receiver(self.judge, takes=0.5)

    def judge(self, delivery: Delivery) -> Outcome:
        if delivery.tells_of is not None:
            return SUCCESS
        how = delivery.json().get("how")
        self.ended[delivery.task_id] += how != "retried" or delivery.attempt > 1
        return {"gone": GONE, "failing": FAILURE}.get(
            how, FAILURE if delivery.attempt < 2 and how else SUCCESS
        )

    async def add(self, engine: Engine, *news: NewTask) -> list[str]:
        if len(news) == 1:
            tasks = [await engine.submit(news[0])]
        else:
            tasks = [receipt.task for receipt in (await engine.submit_all(news)).value]
        self.made.update((task.id, new) for task, new in zip(tasks, news, strict=True))
        return [task.id for task in tasks]

    async def run(self, engine: Engine) -> None:
        with suppress(ConflictError):
            await engine.queues.create("q", max_retries=1, retry_jitter=0, concurrency=3)
        await self.add(
            engine, *[NewTask("q", URL, {"how": how}, callback_url=BACK) for how in ("gone", "", "x")]
        )
        await self.add(engine, *[NewTask(queue, URL, ordering_key="k") for queue in ("q", "r", "q")])
        await self.add(engine, NewTask("q", URL, {"how": "failing"}, idempotency_key="once", priority=9))
        (late,) = await self.add(engine, NewTask("q", URL, delay=50))
        await self.add(engine, NewTask("q", URL, delay=40, expires_in=60, callback_url=BACK))
        self.deleting.add(late)
        await engine.delete(late)
        self.deleted.add(late)
        await trio.sleep(2)
        await engine.queues.retry("q", Retry(error_type=ErrorType.GONE))
        await self.add(engine, NewTask("r", URL, {"how": "retried"}))
        with suppress(ConflictError):
            await engine.queues.create("box", environment=Environment.TEST)
        await engine.submit(NewTask("box", URL), environment=Environment.TEST)
        await engine.queues.update("r", rate_limit={"per_second": 10}, retention_completed=20)
        await engine.queues.purge("box", environment=Environment.TEST)
        await trio.sleep(100)


async def lives(storage: Mortal, work: Workload) -> None:
    """Until it dies, or is done."""
    try:
        async with up(storage, work.receiver) as engine:
            try:
                await work.run(engine)
            except AsyncQueueError:
                await trio.sleep(10_000)  # what it was told by a dying engine
    except KilledError:
        pass


async def assert_true(storage: MemoryStorage, work: Workload) -> None:
    assert await storage.audit() == []
    receiver = work.receiver
    async with up(storage, receiver) as engine:
        await trio.sleep(19)
        for task_id, new in work.made.items():
            try:
                view = await engine.get(task_id)
            except NotFoundError:
                if task_id in work.deleting:
                    work.deleted.add(task_id)
                else:
                    assert (new.queue, task_id in receiver.ids) == ("r", True)  # kept for a few seconds only
                continue
            assert task_id not in work.deleted
            assert [attempt.number for attempt in view.attempts] == [*range(1, len(view.attempts) + 1)]
        await trio.sleep(200)
        for queue in await engine.queues.list():
            assert (queue.counts.pending, queue.counts.active) == (0, 0)
        told = Counter(body["task"]["id"] for body in receiver.told)
        assert all(told[task_id] >= 1 for task_id, new in work.made.items() if new.callback_url)
        assert set(receiver.ids) >= set(work.made) - work.deleted
        assert not work.deleted & set(receiver.ids)
    assert await storage.audit() == []


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_in_any_commit_leaves_everything_true(autojump_clock: object, after: bool) -> None:
    dies_at, died = 1, True
    while died:
        memory, work = MemoryStorage(), Workload()
        mortal = Mortal(memory, dies_at, after=after)
        await lives(mortal, work)
        died, dies_at = mortal.dead, dies_at + 1
        await assert_true(memory, work)
    assert dies_at > 40  # it was a workload


async def test_faults_of_every_kind_leave_everything_true(autojump_clock: object) -> None:
    """Commits that fail, that are in doubt, a disk that is full for a while, in any order."""
    faults = 0
    for seed in range(25):
        random, memory, work = Random(seed), MemoryStorage(), Workload()
        storage = Doubtful(memory, random)
        async with up(storage, work.receiver) as engine:
            while True:
                try:
                    await work.run(engine)
                except AsyncQueueError:
                    storage.calm = len(work.made) > 60
                    if not storage.calm:
                        await trio.sleep(random.random())
                        continue
                break
            storage.calm = True
            await trio.sleep(100)
        faults += storage.faults
        await assert_true(memory, work)
    assert faults > 200


class Doubtful(Faulty):
    """Fails now and then, before or after the commit took effect; a repeated commit takes effect once."""

    def __init__(self, storage: MemoryStorage, random: Random) -> None:
        super().__init__(storage)
        self.calm = False
        self.faults = 0
        self._random = random
        self._done: tuple[Sequence[Unit], Sequence[Answer]] | None = None
        self._full = 0

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        fate = 1.0 if self.calm else self._random.random()
        if self._done is not None and self._same(units, self._done[0]):
            answers = self._done[1]
            if fate < 0.3:
                self.faults += 1
                raise StorageUnavailableError("in doubt still")
            self._done = None
            return answers
        if fate < 0.03 and self._done is None:
            self._full = 3
        if self._full:
            self._full -= 1
            self.faults += 1
            raise StorageFullError("no space left on the device")
        if fate < 0.1:
            self.faults += 1
            raise StorageUnavailableError("busy")
        answers = await super().commit(units, now)
        if fate < 0.2:
            self._done = units, answers
            self.faults += 1
            raise StorageUnavailableError("in doubt")
        return answers

    def _same(self, units: Sequence[Unit], done: Sequence[Unit]) -> bool:
        return len(units) == len(done) and all(a is b for a, b in zip(units, done, strict=True))


async def test_nothing_acknowledged_is_lost_when_it_is_killed_again_and_again(
    autojump_clock: object, tmp_path: Path
) -> None:
    path, receiver, random = str(tmp_path / "aq.db"), Receiver(takes=0.3), Random(7)
    made: list[str] = []
    for _ in range(6):
        async with open_sqlite(path, hop=inline) as storage, until_killed(storage, receiver) as engine:
            made += [task.id for task in await submit_many(engine, 20)]
            for _ in range(random.randint(0, 10)):
                made.append((await submit(engine)).id)
                await trio.sleep(random.random() / 5)
    async with open_sqlite(path, hop=inline) as storage, up(storage, receiver) as engine:
        await trio.sleep(10)
        assert await storage.audit() == []
        assert (await engine.find(TaskFilter(status=Status.COMPLETED))).total == len(made)
        counts = (await engine.queues.get("q")).counts
    assert (counts.completed, counts.total) == (len(made), len(made))
    assert set(receiver.ids) == set(made)


class Garbled(Faulty):
    """Its next window has a second task over which the agenda stumbles as it starts them."""

    garbled = 0

    async def window(self, *args: Any) -> Window:
        head = await super().window(*args)
        if len(head.due) < 2 or not self.garbled:
            return head
        self.garbled -= 1
        wrong = head.due[1]._replace(expires_at="?")  # type: ignore[arg-type]
        return evolve(head, due=[head.due[0], wrong])


async def test_a_supervisor_that_crashes_as_it_starts_tasks_keeps_no_places(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    receiver, storage = Receiver(), Garbled(MemoryStorage())
    async with up(storage, receiver) as engine:
        tasks = [await submit(engine, delay=10) for _ in range(3)]
    await trio.sleep(20)
    storage.garbled = 1
    async with up(storage, receiver, max_attempts=3) as engine:
        await wait_for(engine, tasks)
        assert engine.statistics().attempts_in_flight == 0
    assert "the supervisor of queue q crashed" in caplog.text
