"""Schedules as the front door shows them: made, read, changed, paused, fired by hand, deleted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from attrs import evolve

from aq.actors.claims import Answered, Claims
from aq.actors.intake import RefusedError
from aq.actors.outbox import not_accepted
from aq.actors.scheduler import Scheduler
from aq.claiming import Claiming
from aq.clock import ServiceClock
from aq.errors import (
    ConflictError,
    FieldError,
    Gathering,
    NotFoundError,
    UnavailableError,
    ValidationError,
    within,
)
from aq.ids import ALPHABET, LENGTH, IdMinter
from aq.instants import Instant
from aq.schedule import (
    NOT_OF_A_SLOT,
    NewSchedule,
    Schedule,
    changed,
    changed_fields,
    new_schedule,
    queue_of,
    resumed,
    rhythm,
    slots_after,
)
from aq.storage.answers import Applied, Reason, Refused
from aq.storage.changes import Change
from aq.storage.protocol import Storage
from aq.task import Environment, NewTask, Task, read_task

LIVE = Environment.LIVE
MAX_SCHEDULES: Final = 10_000
"""Of all environments."""
MAX_TASK_CHARACTERS: Final = 64 << 20
"""Of the tasks of all schedules, as JSON: they are kept in memory."""
SHOWN_RUNS: Final = 5
_PREFIX: Final = "sch_"
_ID: Final = re.compile(f"{_PREFIX}[{ALPHABET}]{{{LENGTH}}}")
_TRIES: Final = 20
"""Times that a change is made anew because another one came between."""


class Schedules:
    """``engine.schedules``. The fields are those of `NewSchedule`; ``task`` is a mapping.

    Every write raises UnavailableError (or one of its kinds) when it is not accepted for now.
    ``wrong_with`` says what the engine would refuse of a task.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        storage: Storage,
        clock: ServiceClock,
        minter: IdMinter,
        refuse_if_unwritable: Callable[[], None],
        wrong_with: Callable[[NewTask], Sequence[FieldError]],
        claims: Claims,
    ) -> None:
        self._scheduler = scheduler
        self._storage = storage
        self._clock = clock
        self._minter = minter
        self._refuse_if_unwritable = refuse_if_unwritable
        self._wrong_with = wrong_with
        self._claims = claims
        self._coming: list[str] = []
        """The tasks of schedules that are being written."""

    async def create(self, *, environment: Environment = LIVE, **fields: Any) -> Schedule:
        """Make a schedule; its slots are those after now.

        Raises ValidationError naming every wrong field, ConflictError when there are too many.
        """
        return (await self.make(fields, environment=environment)).value

    async def make(
        self,
        fields: Mapping[str, Any],
        *,
        environment: Environment = LIVE,
        idempotency_key: str | None = None,
    ) -> Answered[Schedule]:
        """As `create`, and whether an earlier request with this key got this answer."""
        self._refuse_if_unwritable()
        new = self._new(fields, fields.get("task"))
        claiming = self._claims.claiming(environment, idempotency_key, "schedule", new)
        return await self._claims.once(claiming, Schedule, lambda: self._create(environment, new, claiming))

    async def _create(
        self, environment: Environment, new: NewSchedule, claiming: Claiming | None
    ) -> Schedule:
        with self._room(new.task, 1):
            now = self._scheduler.wall_now()
            schedule = Schedule(
                id=self._minter.mint(self._clock.now(), _PREFIX),
                environment=environment,
                task=str(new.task),
                cron=new.cron,
                every=new.every,
                timezone=new.timezone,
                overlap=new.overlap,
                catch_up=new.catch_up,
                created_at=now,
                from_at=now,
            )
            claim = [] if claiming is None else [claiming.of(schedule)]
            answer = await self._scheduler.put(schedule, claim)
            if isinstance(answer, Refused):
                raise not_accepted(answer)
        return schedule

    async def get(self, schedule_id: str, *, environment: Environment = LIVE) -> Schedule:
        """Raises NotFoundError."""
        found = await self._storage.schedule(schedule_id) if _ID.fullmatch(schedule_id) else None
        if found is None or found.environment is not environment:
            raise _no_such_schedule()
        return found

    async def list(self, *, environment: Environment = LIVE) -> Sequence[Schedule]:
        """Every schedule, in the order of creation."""
        return await self._storage.schedules(environment)

    async def update(self, schedule_id: str, *, environment: Environment = LIVE, **fields: Any) -> Schedule:
        """Change some fields. ``cron`` takes the place of ``every`` and the other way round.

        After a change of ``cron``, ``every`` or ``timezone`` the slots are those after now. Raises
        ValidationError, NotFoundError.
        """
        return await self.change(schedule_id, fields, environment=environment)

    async def change(
        self, schedule_id: str, fields: Mapping[str, Any], *, environment: Environment = LIVE
    ) -> Schedule:
        """As `update`."""

        def change(schedule: Schedule) -> Schedule:
            new = self._new(changed_fields(schedule, fields), fields.get("task"))
            after = evolve(
                schedule,
                task=str(new.task),
                cron=new.cron,
                every=new.every,
                timezone=new.timezone,
                overlap=new.overlap,
                catch_up=new.catch_up,
            )
            same = rhythm(after) == rhythm(schedule)
            return after if same else evolve(after, from_at=self._scheduler.wall_now())

        return await self._changed(schedule_id, environment, change)

    async def pause(self, schedule_id: str, *, environment: Environment = LIVE) -> Schedule:
        """Let slots pass unfired. Raises NotFoundError."""
        return await self._changed(schedule_id, environment, lambda schedule: evolve(schedule, paused=True))

    async def resume(self, schedule_id: str, *, environment: Environment = LIVE) -> Schedule:
        """The end of `pause`. What passed meanwhile stays unfired, whatever ``catch_up`` says."""

        def change(schedule: Schedule) -> Schedule:
            return resumed(schedule, self._scheduler.wall_now()) if schedule.paused else schedule

        return await self._changed(schedule_id, environment, change)

    async def delete(self, schedule_id: str, *, environment: Environment = LIVE) -> None:
        """When this returns, it makes no more tasks; those it made stay. Raises NotFoundError."""
        self._refuse_if_unwritable()
        await self.get(schedule_id, environment=environment)
        if not isinstance(await self._scheduler.drop(schedule_id), Applied):
            raise _no_such_schedule()

    async def run(self, schedule_id: str, *, environment: Environment = LIVE) -> Task:
        """Make its task at once, beside its slots; also while it is paused. Raises NotFoundError."""
        return (await self.run_once(schedule_id, environment=environment)).value

    async def run_once(
        self,
        schedule_id: str,
        *,
        environment: Environment = LIVE,
        idempotency_key: str | None = None,
        sees: Callable[[str], bool] = lambda queue: True,
    ) -> Answered[Task]:
        """As `run`, and whether an earlier request with this key got this answer.

        To whoever ``sees`` its queue not, there is no such schedule.
        """
        self._refuse_if_unwritable()
        claiming = self._claims.claiming(environment, idempotency_key, "run schedule", schedule_id)
        done = await self._claims.once(
            claiming, Task, lambda: self._run(schedule_id, environment, claiming, sees)
        )
        if not sees(done.value.queue.name):
            raise _no_such_schedule()
        return done

    async def _run(
        self,
        schedule_id: str,
        environment: Environment,
        claiming: Claiming | None,
        sees: Callable[[str], bool],
    ) -> Task:
        def claim(task: Task) -> Sequence[Change]:
            return [] if claiming is None else [claiming.of(task)]

        for _ in range(_TRIES):
            async with self._scheduler.lock(schedule_id):
                schedule = await self.get(schedule_id, environment=environment)
                if not sees(queue_of(schedule)):
                    raise _no_such_schedule()
                try:
                    return await self._scheduler.fire(schedule, beside=claim)
                except RefusedError as error:
                    if error.reason not in (Reason.VERSION, Reason.MISSING):
                        raise not_accepted(Refused(error.reason)) from error
        raise _out_of_step()

    def next_runs(self, schedule: Schedule) -> Sequence[Instant]:
        """The next `SHOWN_RUNS` slots to come; none while it is paused."""
        if schedule.paused:
            return []
        after = max(self._scheduler.wall_now(), schedule.last_slot or 0)
        return list(islice(slots_after(schedule, after), SHOWN_RUNS))

    # -- within ---------------------------------------------------------------------------------------------
    async def _changed(
        self, schedule_id: str, environment: Environment, change: Callable[[Schedule], Schedule]
    ) -> Schedule:
        """What ``change`` makes of a schedule, once it is durable; where it makes no difference, at once."""
        self._refuse_if_unwritable()
        for _ in range(_TRIES):
            async with self._scheduler.lock(schedule_id):
                before = await self.get(schedule_id, environment=environment)
                after = change(before)
                if after == before:
                    return before
                after = changed(before, after, self._scheduler.up_at)
                with self._room(after.task, 0, instead_of=before.task):
                    if isinstance(await self._scheduler.put(after), Applied):
                        return after
        raise _out_of_step()

    def _new(self, fields: Mapping[str, Any], task: object) -> NewSchedule:
        """Raises ValidationError, also for what the engine would refuse of the task that is asked for."""
        wrong = Gathering()
        with wrong:
            new = new_schedule(fields)
        if isinstance(task, Mapping):
            asked, _ = read_task({name: task[name] for name in task if name not in NOT_OF_A_SLOT})
            wrong.errors += within("task", ValidationError(self._wrong_with(asked)))
        wrong.check()
        return new

    @contextmanager
    def _room(self, task: str, more: int, *, instead_of: str = "") -> Iterator[None]:
        """Room for a task's text while it is being written. Raises ConflictError when there is none."""
        if more and len(self._scheduler) + len(self._coming) >= MAX_SCHEDULES:
            raise ConflictError(f"there are {MAX_SCHEDULES:,} schedules already; delete one first")
        if len(task) > len(instead_of):
            kept = self._scheduler.task_characters + sum(map(len, self._coming))
            if kept + len(task) - len(instead_of) > MAX_TASK_CHARACTERS:
                raise ConflictError(
                    f"the tasks of all schedules may have {MAX_TASK_CHARACTERS:,} characters of JSON together"
                )
        self._coming.append(task)
        try:
            yield
        finally:
            self._coming.remove(task)


def _no_such_schedule() -> NotFoundError:
    return NotFoundError("there is no such schedule")


def _out_of_step() -> UnavailableError:
    return UnavailableError("something else changed the schedule at the same moment; try again")
