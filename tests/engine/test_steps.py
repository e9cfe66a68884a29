"""The wall clock is set while the service runs, or was wrong before: nothing early, late, lost or stuck."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import trio
from attrs import define, field

from aq.delivery.protocol import Delivery
from aq.engine import Engine
from aq.instants import SECOND, Instant
from aq.outcome import Outcome
from aq.storage.memory import MemoryStorage
from aq.task import FailureReason, Status
from tests.engine.support import EPOCH, FAILURE, SUCCESS, Receiver, busy, submit, until_killed, up

HOUR, A_DAY, A_YEAR = 3_600, 86_400, 31_536_000
SEEDS = int(os.environ.get("AQ_TEST_SEEDS", "12"))
EVERY = 600
"""Seconds between the slots of each schedule of the seeded lives."""
KEPT = 1_800
"""Seconds for which the seeded lives keep completed tasks."""
ROUND = 31
"""Seconds within which the janitor has been everywhere."""
RELOOK = 60
"""Seconds within which the scheduler has seen a step."""


@define
class Wall:
    """True time and what is wrong with the clock: seconds ahead, and seconds gained in each second."""

    ahead: float = 0
    drift: float = 0

    def __call__(self) -> float:
        return EPOCH + trio.current_time() * (1 + self.drift) + self.ahead

    def after(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(self() + seconds, UTC)


# -- a store that was written by a clock that was wrong -----------------------------------------------------
@pytest.mark.parametrize("ahead", [-HOUR, HOUR, A_YEAR])
async def test_what_another_clock_has_written_holds_up_nothing(autojump_clock: object, ahead: float) -> None:
    """A schedule waits for times that the clock has not shown before; pausing and resuming begins anew."""
    storage, receiver, wall = MemoryStorage(), Receiver(), Wall(ahead)
    async with until_killed(storage, receiver, wall=wall) as engine:
        waiting = await submit(engine, delay=221)
        minutely = {"queue": "c", "webhook_url": "http://c/"}
        cron = await engine.schedules.create(task=minutely, cron="* * * * *")
        await trio.sleep(121)
        await engine.wait((await submit(engine)).id)
    wall.ahead = 0
    receiver.answer = lambda delivery: SUCCESS if delivery.attempt > 1 else FAILURE
    async with up(storage, receiver, wall=wall) as engine:
        await engine.queues.create("r", retry_delay=5, retry_jitter=0)
        await engine.schedules.create(task={"queue": "e", "webhook_url": "http://e/"}, every=60)
        await engine.schedules.pause(cron.id)
        await engine.schedules.resume(cron.id)
        now = await submit(engine, "r")
        later = await submit(engine, "r", delay=10)
        then = await submit(engine, "r", run_at=wall.after(20))
        past = await submit(engine, "r", run_at=wall.after(-20))
        cut = await submit(engine, "r", delay=3, expires_in=4)
        assert waiting.id < now.id < later.id < then.id < past.id
        began = trio.current_time()
        await trio.sleep(130)
        for task, seconds in ((now, 0), (later, 10), (then, 20), (past, 0)):
            assert receiver.at(task.id) == pytest.approx([began + seconds, began + seconds + 5])
        assert (await engine.get(cut.id)).task.failure_reason is FailureReason.EXPIRED
        assert receiver.at(waiting.id)[0] <= began + 100
        fired = Counter(delivery.queue.name for delivery in receiver.seen if delivery.attempt == 1)
        assert (fired["c"], fired["e"]) == (2 + 2, 2)


async def test_a_smeared_clock_moves_slots_with_it_and_nothing_else(autojump_clock: object) -> None:
    receiver, wall = Receiver(), Wall(drift=-0.001)
    async with up(MemoryStorage(), receiver, wall=wall) as engine:
        await engine.schedules.create(task={"queue": "e", "webhook_url": "http://e/"}, every=EVERY)
        task = await submit(engine, delay=20_000)
        await trio.sleep(20_001)
    assert receiver.at(task.id) == [20_000]
    slots = [
        at for at, delivery in zip(receiver.began, receiver.seen, strict=True) if delivery.queue.name == "e"
    ]
    assert slots == pytest.approx([number * EVERY / 0.999 for number in range(1, 34)], abs=0.001)


# -- seeded lives -------------------------------------------------------------------------------------------
POLICIES: dict[str, dict[str, Any]] = {
    "fixed": {"retry_backoff": "fixed", "retry_delay": 100, "retry_jitter": 0},
    "exponential": {"retry_backoff": "exponential", "retry_delay": 10, "retry_jitter": 0},
    "paused": {"paused": True},
}


@define
class World:
    """Lives of a service on one storage. What is due is worked out once more, from Trio's clock alone."""

    random: Random
    wall: Wall = field(factory=Wall)
    storage: MemoryStorage = field(factory=MemoryStorage)
    ids: list[str] = field(factory=list)
    due: dict[str, Instant] = field(factory=dict)
    """URL → when the next attempt of its task is due."""
    running: set[str] = field(factory=set)
    expiring: dict[str, Instant] = field(factory=dict)
    """Id → when it expires."""
    completed: dict[str, Instant] = field(factory=dict)
    """Id → when."""
    slots: dict[str, list[Instant]] = field(factory=dict)
    """Queue of a schedule → its slots, as their tasks arrived."""
    origin: Instant = 0
    opened_at: float = 0

    def now(self) -> Instant:
        return self.origin + round((trio.current_time() - self.opened_at) * SECOND)

    async def open(self, engine: Engine) -> None:
        """The service clock begins at the wall clock's time, and never below what it has shown before."""
        floor = (await self.storage.floor()).now
        self.origin, self.opened_at = max(round(self.wall() * SECOND), floor), trio.current_time()
        assert abs(engine.clock.now() - self.origin) <= 1
        self.due.update(dict.fromkeys(self.running, self.origin))
        self.running.clear()

    # -- what clients do ------------------------------------------------------------------------------------
    async def begin(self, engine: Engine) -> None:
        for name, policy in POLICIES.items():
            await engine.queues.create(name, retention_completed=KEPT, **policy)
        for name, rhythm in (("every", {"every": EVERY}), ("cron", {"cron": "*/10 * * * *"})):
            self.slots[name] = []
            task = {"queue": name, "webhook_url": f"http://{name}/"}
            await engine.schedules.create(task=task, catch_up="all", **rhythm)

    async def submit(self, engine: Engine) -> None:
        name, url = self.random.choice(list(POLICIES)), f"http://d{len(self.ids)}/"
        ahead, fields = self.random.choice([0, 1, 300, 2_000, 3_599, 5_000]), dict[str, Any]()
        if name == "paused":
            fields["expires_in"] = ahead + 1
        elif self.random.random() < 0.4:
            fields["run_at"] = self.wall.after(ahead)
        else:
            fields["delay"] = ahead
        self.due[url] = self.now() + ahead * SECOND
        task = await submit(engine, name, url, max_retries=100, **fields)
        if name == "paused":
            self.expiring[task.id] = self.due.pop(url) + SECOND
        assert not self.ids or self.ids[-1] < task.id
        self.ids.append(task.id)

    # -- what the receiver sees -----------------------------------------------------------------------------
    async def __call__(self, delivery: Delivery) -> Outcome:
        url, name = delivery.webhook_url, delivery.queue.name
        if name in self.slots:
            return await self._slot(delivery)
        due = max(self.due.pop(url), self.origin)
        assert abs(self.now() - due) <= 2, "early, or late"
        self.running.add(url)
        if self.random.random() < 0.3:
            await trio.sleep(self.random.choice([1, 20]))
        self.running.discard(url)
        if self.random.random() < 0.4:
            self.completed[delivery.task_id] = self.now()
            return SUCCESS
        asked = self.random.choice([None, 7, 900])
        waits = 100 if name == "fixed" else min(10 * 2 ** (delivery.attempt - 1), HOUR)
        self.due[url] = self.now() + max(waits, asked or 0) * SECOND
        return FAILURE if asked is None else busy(asked)

    async def _slot(self, delivery: Delivery) -> Outcome:
        stored = await self.storage.task(delivery.task_id)
        assert stored is not None
        slot = stored.task.options.slot
        assert slot is not None
        assert slot <= self.wall() * SECOND + 1, "a slot before the wall clock showed it"
        self.slots[delivery.queue.name].append(slot)
        return SUCCESS

    # -- what came of it ------------------------------------------------------------------------------------
    async def judge(self, engine: Engine) -> None:
        """A minute after the last step, or the opening."""
        assert not [url for url, due in self.due.items() if due < self.now() - 2], "stuck"
        for task_id, at in self.expiring.items():
            task = (await engine.get(task_id)).task
            assert (task.status is Status.FAILED) == (at <= self.now())
        for task_id, at in self.completed.items():
            kept = await self.storage.task(task_id) is not None
            assert kept or at + KEPT * SECOND <= self.now(), "gone too early"
            assert not kept or at + (KEPT + ROUND) * SECOND > self.now(), "kept for too long"
        for name, slots in self.slots.items():
            between = [later - earlier for earlier, later in pairwise(slots)]
            assert between == [EVERY * SECOND] * len(between), f"{name}: a slot not once"
            assert self.wall() - slots[-1] / SECOND < EVERY + RELOOK, f"{name}: a slot is lost"

    def step(self) -> None:
        self.wall.ahead += self.random.choice([-HOUR, HOUR, -HOUR, HOUR, -A_DAY, A_DAY, -1, 1, 0.3, -0.3])


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_steps_the_wall_clock_makes(autojump_clock: object, seed: int) -> None:
    world = World(Random(seed))
    for life in range(4):
        async with until_killed(world.storage, world, wall=world.wall) as engine:
            await world.open(engine)
            if not life:
                await world.begin(engine)
                await trio.sleep(EVERY + RELOOK)
            for _ in range(12):
                await world.submit(engine)
                await trio.sleep(world.random.choice([0.01, 7, 500, 2_000]))
                if world.random.random() < 0.5:
                    world.step()
            await trio.sleep(RELOOK + 5)
            await world.judge(engine)
        if world.random.random() < 0.7:
            world.step()
    assert await world.storage.audit() == []
