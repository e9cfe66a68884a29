"""The scheduler: at each slot of each schedule a task, exactly one, whatever restarts.

A slot is settled by one unit, which makes the task and moves the schedule's ``last_slot`` up. The unit names
the version of the schedule that it follows, so of two that settle one slot storage applies one; and a slot
that is not settled is found again, by whoever looks next. Nothing else has to be right for that.

Slots are instants of the wall clock, and are fired when it has reached them, never before. A slot that is
late because the service was busy or its disk full is fired late; of those that passed while it was down, the
schedule's ``catch_up`` says which are.

There is one timer, for the first slot of all. It is set anew at least every `RELOOK` seconds, which is how a
step of the wall clock is noticed: after one forward the slots in between are late, after one back none comes
twice.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Final

import trio
from attrs import define, evolve, field
from sortedcontainers import SortedList  # type: ignore[import-untyped]

from aq.actors.committer import Committer
from aq.actors.intake import Intake, RefusedError
from aq.actors.patience import patiently
from aq.clock import ServiceClock
from aq.errors import DrainingError, StorageError, UnavailableError, ValidationError
from aq.instants import SECOND, Instant, from_seconds
from aq.schedule import Overlap, Schedule, latest_slot, next_due, settled, task_of
from aq.storage.answers import Answer, Applied
from aq.storage.changes import Change, DropSchedule, PutSchedule
from aq.storage.protocol import Storage
from aq.task import Task

RELOOK: Final = 60.0
"""Seconds after which a step of the wall clock is noticed."""
TURNS: Final = 64
"""Schedules that fire side by side; what is slow holds up no other until there are so many of that kind."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds until a firing that failed is tried again; each failure in a row doubles them."""
logger = logging.getLogger(__name__)


@define(eq=False)
class _Entry:
    """A schedule as it is kept, as far as known here, and who changes it at this moment."""

    schedule: Schedule
    lock: trio.Lock = field(factory=trio.Lock)
    pause: float = FIRST_PAUSE


class Scheduler:
    """One per engine, `run` for as long as it lives. A second run goes on where the first ended."""

    def __init__(self, storage: Storage, committer: Committer, clock: ServiceClock, intake: Intake) -> None:
        self._storage = storage
        self._committer = committer
        self._clock = clock
        self._intake = intake
        self._entries: dict[str, _Entry] = {}
        self._armed = _Line()
        """The next slot of each schedule, by the wall clock."""
        self._resting = _Line()
        """When a schedule whose firing failed is looked at again, by the service clock."""
        self._turns = 0
        """Taken at this moment."""
        self._woken = trio.Event()
        self.task_characters = 0
        """The length of all their tasks, as JSON."""
        self.up_at = self._wall()
        """The wall clock when the service came up; what passed before is for ``catch_up`` to say."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load what is kept, then fire until cancelled. Raises StorageError when it cannot be read at all."""
        self._turns = 0
        for schedule in await patiently(self._storage.schedules):
            self._hold(schedule)
        task_status.started()
        async with trio.open_nursery() as nursery:
            while True:
                due = self._due()
                self._turns += len(due)
                for entry in due:
                    nursery.start_soon(self._take_turn, entry)
                if not due:
                    await self._wait()

    # -- for the front door ---------------------------------------------------------------------------------
    def wall_now(self) -> Instant:
        """What slots are measured by."""
        now = self._wall()
        if now < self.up_at:  # stepped back, to before the service came up: none of what follows was missed
            self.up_at = now
            for entry in self._entries.values():
                self._arm(entry)
        return now

    def lock(self, schedule_id: str) -> trio.Lock:
        """Held by whoever changes a schedule; who waits longest is next, so no backlog keeps a caller out."""
        entry = self._entries.get(schedule_id)
        return trio.Lock() if entry is None else entry.lock

    async def put(self, schedule: Schedule, beside: Sequence[Change] = ()) -> Answer:
        """Write a schedule, and follow it from the moment it is durable: also if the caller is cancelled.

        What is ``beside`` it is written in the same unit.
        """
        heard = self._hold if schedule.version == 1 else self._learn
        unit = [*beside, PutSchedule(schedule)]
        return await self._committer.commit(unit, insists=False, then=lambda _: heard(schedule))

    async def drop(self, schedule_id: str) -> Answer:
        """Delete a schedule; when this returns, it fires no more."""
        unit = [DropSchedule(schedule_id)]
        return await self._committer.commit(unit, insists=False, then=lambda _: self._forget(schedule_id))

    async def fire(
        self,
        schedule: Schedule,
        slot: Instant | None = None,
        beside: Callable[[Task], Sequence[Change]] = lambda task: (),
    ) -> Task:
        """Make its task, for a slot or (None) by hand. Raises what `Intake.insert` does; ValidationError."""

        def after(tasks: Sequence[Task]) -> Schedule:
            if slot is not None:
                return settled(schedule, slot, tasks[0].id)
            return evolve(schedule, last_task_id=tasks[0].id, version=schedule.version + 1)

        tasks = await self._intake.insert(
            schedule.environment,
            [task_of(schedule.task)],
            also=lambda tasks: [*beside(tasks[0]), PutSchedule(after(tasks))],
            then=lambda tasks: self._learn(after(tasks)),
            schedule_id=schedule.id,
            slot=slot,
        )
        return tasks[0]

    def __len__(self) -> int:
        """How many schedules there are, of all environments."""
        return len(self._entries)

    # -- time -----------------------------------------------------------------------------------------------
    def _wall(self) -> Instant:
        return self._clock.now() + math.floor(self._clock.wall_offset() * SECOND)

    def _due(self) -> list[_Entry]:
        """Those to be settled now, as far as there are turns left; each is armed again after its own."""
        wall = self.wall_now()
        for schedule_id in self._resting.take(self._clock.now(), len(self._resting)):
            self._arm(self._entries[schedule_id])
        return [self._entries[schedule_id] for schedule_id in self._armed.take(wall, TURNS - self._turns)]

    async def _wait(self) -> None:
        """Until the first is due, or the wall clock is to be looked at again, or something changed."""
        self._woken = trio.Event()
        now, instants = self._clock.now(), []
        if self._armed.first is not None and self._turns < TURNS:
            ahead = max(self._armed.first - self._wall(), 1)
            instants.append(now + min(ahead, from_seconds(RELOOK)))
        if self._resting.first is not None:
            instants.append(self._resting.first)
        deadline = self._clock.trio_deadline(min(instants)) if instants else math.inf
        with trio.move_on_at(deadline):
            await self._woken.wait()

    # -- turns ----------------------------------------------------------------------------------------------
    async def _take_turn(self, entry: _Entry) -> None:
        """Settle a slot; whatever keeps it from being settled concerns this schedule alone."""
        try:
            async with entry.lock:
                await self._settle_or_read_again(entry)
            entry.pause = FIRST_PAUSE
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001  # told in the log; the slot is tried again
            self._rest(entry, error)
        self._turns -= 1
        self._arm(entry)
        self._woken.set()

    async def _settle_or_read_again(self, entry: _Entry) -> None:
        version = entry.schedule.version
        try:
            await self._settle(entry.schedule)
        except RefusedError:
            kept = await self._storage.schedule(entry.schedule.id)
            if kept is None:
                self._forget(entry.schedule.id)
            elif kept.version == version:
                raise
            else:
                self._learn(kept)

    async def _settle(self, schedule: Schedule) -> None:
        slot, wall = next_due(schedule, self.up_at), self.wall_now()
        if slot is None or slot > wall:  # it was changed a moment ago
            return
        if await self._overlaps(schedule):
            await self._skip(schedule, latest_slot(schedule, wall) or slot)
            return
        try:
            await self.fire(schedule, slot)
        except ValidationError as error:
            logger.error("schedule %s cannot fire, its task is refused: %s", schedule.id, error)  # noqa: TRY400
            await self._skip(schedule, slot)

    async def _skip(self, schedule: Schedule, slot: Instant) -> None:
        """Settle slots without a task. Raises RefusedError."""
        answer = await self.put(settled(schedule, slot))
        if not isinstance(answer, Applied):
            raise RefusedError(answer.reason)

    async def _overlaps(self, schedule: Schedule) -> bool:
        """Whether the task of the slot before has still to end, and that matters."""
        if schedule.overlap is Overlap.ALLOW or schedule.slot_task_id is None:
            return False
        stored = await self._storage.task(schedule.slot_task_id)
        return stored is not None and not stored.task.status.final

    def _rest(self, entry: _Entry, error: Exception) -> None:
        if isinstance(error, UnavailableError | RefusedError):
            if entry.pause == FIRST_PAUSE and not isinstance(error, DrainingError):
                logger.warning("schedule %s waits: %s", entry.schedule.id, error)
        else:
            logger.error("schedule %s failed to fire", entry.schedule.id, exc_info=error)
        if self._entries.get(entry.schedule.id) is entry:
            self._resting.put(entry.schedule.id, self._clock.now() + from_seconds(entry.pause))
        entry.pause = min(2 * entry.pause, LONGEST_PAUSE)

    # -- what is known --------------------------------------------------------------------------------------
    def _hold(self, schedule: Schedule) -> None:
        """Follow a schedule."""
        if schedule.id not in self._entries:
            self._entries[schedule.id] = _Entry(schedule)
            self.task_characters += len(schedule.task)
        self._learn(schedule)

    def _learn(self, schedule: Schedule) -> None:
        """How a schedule is now, if it is still there. What is heard late counts for nothing."""
        entry = self._entries.get(schedule.id)
        if entry is None:
            return
        if schedule.version > entry.schedule.version:
            self.task_characters += len(schedule.task) - len(entry.schedule.task)
            entry.schedule = schedule
            self._resting.drop(schedule.id)
        self._arm(entry)

    def _forget(self, schedule_id: str) -> None:
        if (entry := self._entries.pop(schedule_id, None)) is not None:
            self.task_characters -= len(entry.schedule.task)
        self._armed.drop(schedule_id)
        self._resting.drop(schedule_id)

    def _arm(self, entry: _Entry) -> None:
        """Put a schedule into its place. Never raises."""
        schedule_id = entry.schedule.id
        if self._entries.get(schedule_id) is not entry or schedule_id in self._resting:
            return
        try:
            slot = next_due(entry.schedule, self.up_at)
        except Exception:
            logger.exception("schedule %s cannot be followed", schedule_id)
            slot = None
        if slot is None:
            self._armed.drop(schedule_id)
        else:
            self._armed.put(schedule_id, slot)
        self._woken.set()


class _Line:
    """Ids in the order of an instant each."""

    def __init__(self) -> None:
        self._places: SortedList[tuple[Instant, str]] = SortedList()
        self._at: dict[str, Instant] = {}

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, member: str) -> bool:
        return member in self._at

    @property
    def first(self) -> Instant | None:
        return self._places[0][0] if self._places else None

    def put(self, member: str, at: Instant) -> None:
        self.drop(member)
        self._at[member] = at
        self._places.add((at, member))

    def drop(self, member: str) -> None:
        if member in self._at:
            self._places.remove((self._at.pop(member), member))

    def take(self, by: Instant, most: int) -> list[str]:
        """The first ones, at most so many, whose instant is not later than ``by``."""
        taken: list[str] = []
        while len(taken) < most and self._places and self._places[0][0] <= by:
            taken.append(self._places[0][1])
            self.drop(taken[-1])
        return taken
