"""Schedules on a virtual clock, with a wall clock that can be stepped: one task per slot, come what may."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
import trio
import trio.testing
from attrs import define, evolve, field
from msgspec.structs import replace

from aq import lifecycle, schedules
from aq.actors.claims import Claims
from aq.actors.committer import Committer
from aq.actors.intake import Intake, RefusedError, nobody_else, nothing_else
from aq.actors.scheduler import Scheduler
from aq.clock import ServiceClock
from aq.errors import (
    ConflictError,
    FieldError,
    NotFoundError,
    OverloadedError,
    StorageFullError,
    UnavailableError,
    ValidationError,
)
from aq.ids import IdMinter
from aq.instants import SECOND, Instant
from aq.policy import QueuePolicy
from aq.schedule import CatchUp, Schedule
from aq.schedules import Schedules
from aq.storage import open_storage
from aq.storage.answers import Applied, Refused, TaskFilter
from aq.storage.changes import Change, DropSchedule, Insert, PutQueue, PutSchedule, Update
from aq.storage.protocol import Storage
from aq.task import NO_TRACE, Environment, NewTask, Queue, QueueKey, Status, Task, TraceContext

URL = "http://receiver.example/"
TASK = {"queue": "q", "webhook_url": URL, "payload": {"n": 1}}
START = 1_790_000_000 // 86_400 * 86_400
"""The wall clock at the start (Unix seconds): a midnight in UTC, in September 2026."""
HOUR = 3_600


@define
class World:
    """What outlives a crash: the storage and the wall clock; and what went wrong is told by ``trouble``."""

    storage: Storage
    start: float = START
    step: float = 0
    """Seconds by which the wall clock has been stepped since."""
    looks: int = 0
    """How often someone has looked at the wall clock."""
    trouble: Callable[[NewTask], Callable[[], Awaitable[object]] | None] = lambda new: None
    """Asked before each insertion; may raise."""
    after_insertion: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint
    fired_at: list[tuple[Instant | None, float]] = field(factory=list)
    """The slot of each task and the wall clock as it was made."""

    def wall(self) -> float:
        self.looks += 1
        return self.start + self.step + trio.current_time()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Service]:
        """A service, killed at the end of the block."""
        floor = await self.storage.floor()
        clock = ServiceClock(wall=self.wall, floor=floor.now)
        committer = Committer(self.storage, clock)
        minter = IdMinter(lambda bits: 0, floor.sequence)
        intake = PlainIntake(self, committer, clock, minter)
        scheduler = Scheduler(self.storage, committer, clock, intake)
        front = Schedules(
            scheduler, self.storage, clock, minter, _fine, _nothing_wrong, Claims(self.storage, clock)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.run)
            service = Service(front, scheduler, committer, nursery)
            await service.start_actor()
            yield service
            nursery.cancel_scope.cancel()

    async def tasks(self, environment: Environment = Environment.LIVE) -> Sequence[Task]:
        """In the order of creation."""
        page = await self.storage.list_tasks(TaskFilter(environment), limit=100_000)
        return page.tasks[::-1]

    async def slots(self) -> list[float]:
        """Seconds after the start of each slot that has a task, in the order of their creation."""
        return [
            (task.options.slot - round(self.start * SECOND)) / SECOND
            for task in await self.tasks()
            if task.options.slot is not None
        ]

    async def end(self, task: Task) -> None:
        done = replace(task, status=Status.COMPLETED, version=task.version + 1, finished_at=task.created_at)
        await self.storage.commit([[Update(done, was=Status.PENDING)]], 0)


@define
class Service:
    front: Schedules
    scheduler: Scheduler
    committer: Committer
    nursery: trio.Nursery
    life: trio.CancelScope = field(factory=trio.CancelScope)
    """Of the actor: cancelled, it is dead, and the rest goes on."""

    async def start_actor(self) -> None:
        self.life = trio.CancelScope()

        async def live(task_status: trio.TaskStatus[None]) -> None:
            with self.life:
                await self.scheduler.run(task_status)

        await self.nursery.start(live)

    async def create(self, **fields: Any) -> Schedule:
        return await self.front.create(**{"task": TASK, **fields})


@define
class PlainIntake(Intake):
    """Writes tasks, and tells no queue."""

    world: World
    committer: Committer
    clock: ServiceClock
    minter: IdMinter

    async def insert(
        self,
        environment: Environment,
        news: Sequence[NewTask],
        *,
        also: Callable[[Sequence[Task]], Sequence[Change]] = nothing_else,
        then: Callable[[Sequence[Task]], object] = nobody_else,
        trace: TraceContext = NO_TRACE,
        schedule_id: str | None = None,
        slot: Instant | None = None,
    ) -> Sequence[Task]:
        (new,) = news
        if (waits := self.world.trouble(new)) is not None:
            await waits()
        key, now = QueueKey(environment, new.queue), self.clock.now()
        await self.committer.commit([PutQueue(Queue(key, QueuePolicy(), created_at=now))])
        task = lifecycle.submitted(
            new,
            task_id=self.minter.mint(now),
            queue=key,
            now=now,
            trace=NO_TRACE,
            schedule_id=schedule_id,
            slot=slot,
        )
        unit = [*also([task]), Insert(task, new.payload)]
        answer = await self.committer.commit(unit, insists=False, then=lambda _: then([task]))
        if isinstance(answer, Refused):
            raise RefusedError(answer.reason)
        self.world.fired_at.append((slot, self.world.wall()))
        await self.world.after_insertion()
        return [task]


def _fine() -> None:
    """There is space on the disk."""


def _nothing_wrong(new: NewTask) -> Sequence[FieldError]:
    return ()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_storage("memory:") as storage:
        yield World(storage)


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def until(seconds: float) -> None:
    """Half a second after that many seconds since the start: no slot of these tests lies there."""
    await trio.sleep_until(seconds + 0.5)


# -- the plain path -----------------------------------------------------------------------------------------
async def test_each_slot_makes_one_task_and_none_is_early(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        schedule = await service.create(cron="*/15 * * * *", task={**TASK, "priority": 9})
        await until(HOUR)
        tasks = await world.tasks()
    assert await world.slots() == [900, 1_800, 2_700, 3_600]
    assert {(task.options.schedule_id, task.priority, task.delay) for task in tasks} == {(schedule.id, 9, 0)}
    assert [(await world.storage.task(task.id)).payload for task in tasks] == [b'{"n":1}'] * 4  # type: ignore[union-attr]
    assert all(slot is not None and 0 <= wall - slot / SECOND < 0.001 for slot, wall in world.fired_at)
    kept = await world.storage.schedule(schedule.id)
    assert kept is not None
    assert (kept.last_slot, kept.last_task_id) == (tasks[-1].options.slot, tasks[-1].id)


async def test_a_month_of_schedules(autojump_clock: trio.testing.MockClock, world: World) -> None:
    autojump_clock.autojump_threshold = math.inf  # steps of an hour are enough
    async with world.up() as service:
        await service.create(cron="0 * * * *")
        await service.create(every=7_200)
        await service.create(cron="30 9 * * MON-FRI", timezone="Europe/Berlin")
        await service.create(cron="0 0 1 * *", overlap="skip")
        for _ in range(30 * 24):
            autojump_clock.jump(HOUR)
            await settled()
        counts = Counter(task.options.schedule_id for task in await world.tasks())
    assert sorted(counts.values()) == [1, 22, 360, 720]
    assert all(slot is not None and 0 <= wall - slot / SECOND < HOUR for slot, wall in world.fired_at)


async def test_with_nothing_armed_nobody_looks_at_the_clock(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        paused = await service.create(every=60)
        await service.front.pause(paused.id)
        looks = world.looks
        await until(30 * HOUR)
        assert world.looks <= looks + 2


async def test_the_skipped_and_the_repeated_hour_fire_once(autojump_clock: object, world: World) -> None:
    zone = ZoneInfo("Europe/Berlin")
    for day, expected in ((29, ["03:00", "02:30"]), (25, ["02:30", "02:30"])):
        month = 3 if day == 29 else 10
        world.start = datetime(2026, month, day - 1, 12, tzinfo=zone).timestamp() - trio.current_time()
        async with world.up() as service:
            schedule = await service.create(cron="30 2 * * *", timezone="Europe/Berlin")
            await trio.sleep(40 * HOUR)
            fired = [task for task in await world.tasks() if task.options.schedule_id == schedule.id]
            await service.front.delete(schedule.id)
        shown = [datetime.fromtimestamp((task.options.slot or 0) // SECOND, zone) for task in fired]
        assert [f"{moment:%H:%M}" for moment in shown] == expected


# -- exactly once -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("steps", range(25))
async def test_an_actor_that_is_killed_anywhere_goes_on_where_it_was(
    autojump_clock: object, world: World, steps: int
) -> None:
    async with world.up() as service:
        await service.create(every=10)
        await service.create(every=10, catch_up="all", overlap="skip")
        await trio.sleep_until(20)
        await _checkpoints(steps)
        service.life.cancel()
        await until(30)
        await service.start_actor()
        await until(50)
    _once_each(await world.tasks(), [10, 20, 30, 40, 50])


@pytest.mark.parametrize("catch_up", list(CatchUp))
@pytest.mark.parametrize("steps", range(25))
async def test_a_service_that_is_killed_anywhere_fires_no_slot_twice(
    autojump_clock: object, world: World, steps: int, catch_up: CatchUp
) -> None:
    async with world.up() as service:
        await service.create(every=10, catch_up=catch_up)
        await trio.sleep_until(20)
        await _checkpoints(steps)
    async with world.up():
        await until(40)
    slots = await world.slots()
    assert slots in ([10, 20, 30, 40], [10, 30, 40])
    if catch_up is not CatchUp.NONE:
        assert 20 in slots


async def test_of_two_services_on_one_storage_one_fires_each_slot(
    autojump_clock: object, world: World
) -> None:
    async with world.up() as service:
        await service.create(every=10)
        async with world.up():
            await until(50)
    assert await world.slots() == [10, 20, 30, 40, 50]


async def test_a_schedule_that_was_changed_behind_its_back_is_read_again(
    autojump_clock: object, world: World
) -> None:
    async with world.up() as service:
        schedule = await service.create(every=10)
        paused = await service.create(every=10)
        gone = await service.create(every=10)
        await until(10)
        text = '{"queue":"q","webhook_url":"http://h/","priority":9}'
        for one, changes in ((schedule, {"task": text}), (paused, {"paused": True})):
            kept = await service.front.get(one.id)
            await service.committer.commit([PutSchedule(evolve(kept, **changes, version=kept.version + 1))])
        await service.committer.commit([DropSchedule(gone.id)])
        await until(50)
        assert len(service.scheduler) == 2
    assert await world.slots() == [10, 10, 10, 20, 30, 40, 50]
    assert [task.priority for task in await world.tasks()] == [5, 5, 5, 9, 9, 9, 9]
    assert all(slot is not None and wall - slot / SECOND < 0.1 for slot, wall in world.fired_at)


# -- what keeps a slot from firing --------------------------------------------------------------------------
async def test_what_is_refused_for_now_is_tried_again_and_holds_up_nobody_else(
    autojump_clock: object, world: World
) -> None:
    tried: list[float] = []

    def trouble(new: NewTask) -> None:
        if new.queue == "full" and trio.current_time() < 99:
            tried.append(trio.current_time())
            raise OverloadedError("full")

    world.trouble = trouble
    async with world.up() as service:
        await service.create(every=10, task={**TASK, "queue": "full"})
        await service.create(every=40)
        await until(110)
    assert tried == pytest.approx([10, 11, 13, 17, 25, 41, 71], abs=0.01)
    by_queue = [(task.queue.name, task.options.slot) for task in await world.tasks()]
    slots = [slot for name, slot in by_queue if name == "full"]
    assert slots == [(START + seconds) * SECOND for seconds in range(10, 120, 10)]
    assert [name for name, _ in by_queue[:2]] == ["q", "q"]


async def test_what_hangs_holds_up_nobody_else(autojump_clock: object, world: World) -> None:
    let_go = trio.Event()
    world.trouble = lambda new: let_go.wait if new.queue == "stuck" else None
    async with world.up() as service:
        await service.create(every=10, task={**TASK, "queue": "stuck"})
        await service.create(every=10)
        await until(35)
        assert [task.queue.name for task in await world.tasks()] == ["q"] * 3
        let_go.set()
        await until(36)
    by_queue = Counter(task.queue.name for task in await world.tasks())
    assert by_queue == {"q": 3, "stuck": 3}


async def test_a_full_disk_delays_slots_and_loses_none(autojump_clock: object, world: World) -> None:
    def trouble(new: NewTask) -> None:
        if 15 < trio.current_time() < 1_000:
            raise StorageFullError("no space left")

    world.trouble = trouble
    async with world.up() as service:
        await service.create(every=10)
        await until(1_100)
    assert await world.slots() == list(range(10, 1_110, 10))


async def test_an_error_of_one_firing_is_that_schedules_alone(
    autojump_clock: object, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def trouble(new: NewTask) -> None:
        if new.queue == "odd":
            raise ZeroDivisionError

    world.trouble = trouble
    async with world.up() as service:
        await service.create(every=10, task={**TASK, "queue": "odd"})
        await service.create(every=10)
        await until(30)
    assert await world.slots() == [10, 20, 30]
    assert "failed to fire" in caplog.text


async def test_a_task_that_is_no_longer_valid_gives_up_its_slots(
    autojump_clock: object, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.up() as service:
        schedule = await service.create(every=10)
        kept = evolve(schedule, task='{"queue":"q","webhook_url":"ftp://h/"}', version=2)
        assert isinstance(await service.scheduler.put(kept), Applied)
        await until(30)
    found = await world.storage.schedule(schedule.id)
    assert found is not None
    assert (found.last_slot, found.last_task_id) == ((START + 30) * SECOND, None)
    assert "its task is refused" in caplog.text


async def test_a_schedule_that_cannot_be_followed_stops_no_other(
    autojump_clock: object, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    odd = Schedule(
        id="sch_odd",
        environment=Environment.LIVE,
        task="{}",
        cron="* * * * *",
        timezone="Mars/Olympus",
        created_at=START,
        from_at=START,
    )
    await world.storage.commit([[PutSchedule(odd)]], 0)
    async with world.up() as service:
        await service.create(every=10)
        await until(20)
    assert await world.slots() == [10, 20]
    assert "cannot be followed" in caplog.text


# -- overlap ------------------------------------------------------------------------------------------------
async def test_a_slot_is_skipped_while_the_task_before_has_not_ended(
    autojump_clock: object, world: World
) -> None:
    async with world.up() as service:
        skipping = await service.create(every=10, overlap="skip")
        await until(30)
        (first,) = await world.tasks()
        kept = await service.front.get(skipping.id)
        assert (kept.last_slot, kept.last_task_id) == ((START + 30) * SECOND, first.id)
        await world.end(first)
        await until(50)
    assert await world.slots() == [10, 40]


async def test_a_run_by_hand_hides_no_task_of_a_slot_and_holds_up_none(
    autojump_clock: object, world: World
) -> None:
    async with world.up() as service:
        schedule = await service.create(every=10, overlap="skip")
        by_hand = await service.front.run(schedule.id)
        await until(10)
        await world.end(by_hand)
        await world.end(await service.front.run(schedule.id))
        await until(30)
    assert await world.slots() == [10]
    async with world.up():
        await world.end((await world.tasks())[1])
        await until(40)
    assert await world.slots() == [10, 40]


async def test_slots_overlap_unless_they_are_told_not_to(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        await service.create(every=10)
        await until(30)
    assert await world.slots() == [10, 20, 30]


# -- catch up -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("catch_up", "late"), [("none", []), ("last", [70]), ("all", [20, 30, 40, 50, 60, 70])]
)
async def test_what_passed_while_the_service_was_down(
    autojump_clock: object, world: World, catch_up: str, late: list[int]
) -> None:
    async with world.up() as service:
        await service.create(every=10, catch_up=catch_up)
        await until(10)
    await until(70)
    async with world.up():
        await settled()
        assert await world.slots() == [10, *late]
        await until(80)
    async with world.up():
        await until(90)
    assert await world.slots() == [10, *late, 80, 90]


async def test_a_long_catch_up_lets_others_run(autojump_clock: object, world: World) -> None:
    world.after_insertion = _take_a_while
    async with world.up() as service:
        await service.create(every=1, catch_up="all")
        await service.front.create(every=HOUR, task={**TASK, "queue": "other"})
    await until(2 * HOUR - 2)
    async with world.up():
        await until(2 * HOUR + 2)
        names = [task.queue.name for task in await world.tasks()]
    assert names.count("other") == 1
    assert 30 < names.count("q") < 50


async def test_a_long_catch_up_keeps_no_caller_out(autojump_clock: object, world: World) -> None:
    """Reading takes longer than a firing, so whoever only tries again would always come too late."""
    world.after_insertion = _take_a_while
    async with world.up() as service:
        long = await service.create(every=1, catch_up="all")
    await until(2 * HOUR)
    world.storage = cast(Storage, SlowToRead(world.storage))
    async with world.up() as service:
        await until(2 * HOUR + 2)
        assert (await service.front.pause(long.id)).paused
        made = len(await world.tasks())
        await until(2 * HOUR + 30)
        assert len(await world.tasks()) == made
        resumed = await service.front.resume(long.id)
        await until(2 * HOUR + 33)
    assert resumed.from_at == (START + 2 * HOUR + 30) * SECOND
    assert (await world.slots())[-3:] == [2 * HOUR + 31, 2 * HOUR + 32, 2 * HOUR + 33]


# -- pause, run, change, delete -----------------------------------------------------------------------------
async def test_slots_of_a_pause_never_fire(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        schedule = await service.create(cron="* * * * *", catch_up="all")
        await until(60)
        assert (await service.front.pause(schedule.id)).paused
        await until(200)
    async with world.up() as service:
        await until(250)
        assert not (await service.front.resume(schedule.id)).paused
        assert await service.front.resume(schedule.id) == await service.front.get(schedule.id)
        await until(360)
    assert await world.slots() == [60, 300, 360]


async def test_a_run_by_hand_is_beside_the_slots(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        schedule = await service.create(every=10)
        await until(10)
        await service.front.pause(schedule.id)
        task = await service.front.run(schedule.id)
        kept = await service.front.get(schedule.id)
        assert (task.options.schedule_id, task.options.slot, kept.last_task_id) == (
            schedule.id,
            None,
            task.id,
        )
        assert kept.last_slot == (START + 10) * SECOND
        await service.front.resume(schedule.id)
        await until(30)
        assert len(await world.tasks()) == 4
        with pytest.raises(NotFoundError):
            await service.front.run("sch_" + "0" * 26)
    assert await world.slots() == [10, 20, 30]


async def test_a_new_rhythm_begins_at_once_and_the_same_one_changes_nothing(
    autojump_clock: object, world: World
) -> None:
    async with world.up() as service:
        schedule = await service.create(every=100)
        await until(50)
        assert await service.front.update(schedule.id, every=100) == schedule
        changed = await service.front.update(schedule.id, overlap="skip", task={**TASK, "priority": 2})
        assert changed.from_at == schedule.from_at
        await until(100)
        await world.end((await world.tasks())[0])
        changed = await service.front.update(schedule.id, cron="*/5 * * * *")
        assert (changed.cron, changed.every) == ("*/5 * * * *", None)
        await until(300)
        assert [task.priority for task in await world.tasks()] == [2, 2]
        await service.front.update(schedule.id, overlap="allow", every=7)
        await until(315)
    assert await world.slots() == [100, 300, 307.5, 314.5]


async def test_wrong_changes_change_nothing(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        schedule = await service.create(every=100)
        changes: list[dict[str, Any]] = [
            {"every": None},
            {"timezone": "Mars"},
            {"task": {}},
            {"paused": True},
        ]
        for wrong in changes:
            with pytest.raises(ValidationError):
                await service.front.update(schedule.id, **wrong)
        assert await service.front.get(schedule.id) == schedule


async def test_changes_and_firings_at_one_moment_all_count(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        schedule = await service.create(every=1)

        async def change(number: int) -> None:
            for turn in range(20):
                await trio.sleep_until(turn + 1)
                await _checkpoints(number)
                await service.front.update(schedule.id, task={**TASK, "priority": 1 + turn % 2})

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(change, number)
        await until(20)
    assert await world.slots() == list(range(1, 21))


async def test_a_deleted_schedule_fires_no_more(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        schedule = await service.create(every=10)
        await trio.sleep_until(20)
        await service.front.delete(schedule.id)
        made = len(await world.tasks())
        await until(50)
        assert len(await world.tasks()) == made
        with pytest.raises(NotFoundError):
            await service.front.get(schedule.id)
        with pytest.raises(NotFoundError):
            await service.front.delete(schedule.id)
        assert len(service.scheduler) == 0


async def test_a_deletion_in_the_middle_of_a_firing_is_final(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        schedule = await service.create(every=10)
        world.after_insertion = lambda: service.front.delete(schedule.id)
        await until(10)
        assert (len(service.scheduler), service.scheduler.task_characters) == (0, 0)
        await until(30)
    assert await world.slots() == [10]


async def test_a_deletion_in_the_middle_of_a_firing_that_fails(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        schedule = await service.create(every=10)
        await service.create(every=10)

        async def delete_and_fail() -> None:
            if len(service.scheduler) == 2:
                await service.front.delete(schedule.id)
                raise OverloadedError("full")

        world.after_insertion = delete_and_fail
        await until(30)
        assert len(service.scheduler) == 1
    assert (await world.slots())[-2:] == [20, 30]


async def test_a_creation_whose_caller_went_away_is_followed(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        with trio.CancelScope() as caller:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: service.create(every=10))
                await _checkpoints(2)
                caller.cancel()
        await until(10)
        kept = await world.storage.schedules()
    assert await world.slots() == [10] * len(kept)


# -- the wall clock -----------------------------------------------------------------------------------------
async def test_a_wall_clock_stepped_forward_loses_no_slot(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        await service.create(cron="*/20 * * * *")
        await until(1_300)
        world.step += HOUR
        await until(1_370)
        assert await world.slots() == [1_200, 2_400, 3_600, 4_800]
        await until(2_500)
    assert await world.slots() == [1_200, 2_400, 3_600, 4_800, 6_000]


async def test_a_wall_clock_stepped_back_fires_no_slot_twice(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        await service.create(cron="*/20 * * * *")
        await until(2_500)
        world.step -= HOUR
        await until(2_400 + HOUR)
        assert await world.slots() == [1_200, 2_400]
        await until(3_600 + HOUR)
    async with world.up():
        await until(4_800 + HOUR)
    assert await world.slots() == [1_200, 2_400, 3_600, 4_800][: len(await world.slots())]
    assert (await world.slots())[:3] == [1_200, 2_400, 3_600]
    assert all(slot is not None and wall >= slot / SECOND for slot, wall in world.fired_at)


async def test_a_wall_clock_stepped_back_in_the_middle_of_a_turn(
    autojump_clock: object, world: World
) -> None:
    async with world.up() as service:
        schedule = await service.create(every=10)
        async with service.scheduler.lock(schedule.id):
            await until(10)
            world.step -= 5
        await until(14)
        assert await world.slots() == []
        await until(25)
    assert await world.slots() == [10, 20]


async def test_a_wall_clock_that_was_ahead_at_the_start_takes_no_slots_with_it(
    autojump_clock: object, world: World
) -> None:
    async with world.up() as service:
        await service.create(cron="*/20 * * * *")
    world.step += HOUR
    async with world.up():
        await until(30)
        world.step -= HOUR
        await until(1_200)
    assert await world.slots() == [1_200]


# -- bounds and environments --------------------------------------------------------------------------------
async def test_there_are_only_so_many(
    autojump_clock: object, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 3)
    async with world.up() as service:
        outcomes: list[str] = []

        async def create() -> None:
            try:
                await service.create(every=10)
                outcomes.append("made")
            except ConflictError:
                outcomes.append("refused")

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(create)
        assert sorted(outcomes) == ["made"] * 3 + ["refused"] * 2
        await service.front.delete((await service.front.list())[0].id)
        await service.create(every=10)


async def test_their_tasks_have_room_for_so_much(
    autojump_clock: object, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "MAX_TASK_CHARACTERS", 1_000)
    async with world.up() as service:
        schedule = await service.create(every=10, task={**TASK, "payload": {"a": "x" * 400}})
        with pytest.raises(ConflictError):
            await service.create(every=10, task={**TASK, "payload": {"a": "x" * 500}})
        with pytest.raises(ConflictError):
            await service.front.update(schedule.id, task={**TASK, "payload": {"a": "x" * 999}})
        await service.front.update(schedule.id, task={**TASK, "payload": {"a": "x" * 800}})


async def test_environments_do_not_know_of_each_other(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        live = await service.create(every=10)
        test = await service.create(every=20, environment=Environment.TEST)
        assert await service.front.list() == [live]
        assert await service.front.list(environment=Environment.TEST) == [test]
        for act in (service.front.get, service.front.pause, service.front.delete, service.front.run):
            with pytest.raises(NotFoundError):
                await act(test.id)
        await until(20)
        assert len(await world.tasks()) == 2
        assert [task.options.schedule_id for task in await world.tasks(Environment.TEST)] == [test.id]


async def test_the_next_runs_are_those_that_will_fire(autojump_clock: object, world: World) -> None:
    async with world.up() as service:
        schedule = await service.create(cron="*/20 * * * *")
        expected = [(START + seconds) * SECOND for seconds in (1_200, 2_400, 3_600, 4_800, 6_000)]
        assert service.front.next_runs(schedule) == expected
        assert service.front.next_runs(evolve(schedule, paused=True)) == []
        done = evolve(schedule, last_slot=expected[1])
        assert list(service.front.next_runs(done))[:3] == expected[2:]


async def test_a_write_that_is_not_accepted_is_told(autojump_clock: object, world: World) -> None:
    def trouble(new: NewTask) -> None:
        raise UnavailableError("not now")

    world.trouble = trouble
    async with world.up() as service:
        schedule = await service.create(every=1_000)
        with pytest.raises(UnavailableError):
            await service.front.run(schedule.id)


# -- helpers ------------------------------------------------------------------------------------------------
class SlowToRead:
    """A storage that takes its time to find a schedule."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def schedule(self, schedule_id: str) -> Schedule | None:
        found = await self._storage.schedule(schedule_id)
        await trio.sleep(0.15)
        return found


async def _take_a_while() -> None:
    await trio.sleep(0.1)


async def _checkpoints(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()


def _once_each(tasks: Sequence[Task], seconds: Sequence[int]) -> None:
    """Each schedule without a wish to skip has each slot once; any other no slot twice."""
    slots = Counter((task.options.schedule_id, task.options.slot) for task in tasks)
    assert max(slots.values()) == 1
    whole = Counter(schedule_id for schedule_id, _ in slots)
    assert max(whole.values()) == len(seconds)
    assert {slot for _, slot in slots} == {(START + second) * SECOND for second in seconds}
