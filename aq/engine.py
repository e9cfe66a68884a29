"""The front door: one engine, used alike by the HTTP API and by Trio apps that embed it.

`aq.opening.open_engine` makes one. An engine has no global state: two of them in one process do not know of
each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import trio
from attrs import evolve, frozen

from aq import lifecycle
from aq.actors.claims import Answered, Claims
from aq.actors.intake import Intake, RefusedError
from aq.actors.messages import Explain, Receipt, Remove, Reply, Revive, Submit
from aq.actors.outbox import not_accepted
from aq.actors.root import Root
from aq.actors.scheduler import Scheduler
from aq.actors.services import Services
from aq.actors.tracing import Tracer
from aq.clock import ServiceClock
from aq.delivery.signing import Secret
from aq.delivery.webhook import WebhookRunner
from aq.errors import (
    ConflictError,
    DrainingError,
    FieldError,
    Gathering,
    NotFoundError,
    OverloadedError,
    QuarantinedError,
    StorageCorruptError,
    StorageFullError,
    ValidationError,
    within,
)
from aq.explanation import Explanation, Reason, Why, calendar
from aq.instants import SECOND
from aq.keys import Keyring
from aq.queues import Queues
from aq.schedules import Schedules
from aq.storage.answers import MOST_GROUPED, Failures, Refused, StoredTask, TaskFilter, TaskPage
from aq.storage.changes import Change
from aq.target import parse_target
from aq.task import NO_TRACE, Attempt, Environment, NewTask, QueueKey, Status, Task, TraceContext

_ENDED: Final = {
    Status.COMPLETED: "it is completed",
    Status.FAILED: "it has failed; a retry makes it pending again",
}
MAX_INTAKE_BYTES: Final = 64 << 20
"""Payload bytes that may be on their way to disk at once; beyond, `Engine.submit` is refused."""


@frozen
class TaskView:
    """All that is known of a task. ``max_retries`` and ``timeout`` (seconds) are the values in force."""

    task: Task
    payload: bytes
    attempts: Sequence[Attempt]
    max_retries: int
    timeout: float
    callback: Task | None = None
    """The delivery that tells of its end, once it has one."""


@frozen
class EngineStatistics:
    """What the engine holds at this moment."""

    supervisors: int
    attempts_in_flight: int
    writes_waiting: int
    intake_bytes: int
    commits: int
    """Transactions since the engine was opened."""
    units: int
    """Units written in them; units / commits is what group commit gathers."""
    restarts: int
    """Supervisors begun anew after a crash."""
    destinations_held: int
    """Those that asked for a pause, or whose probe is out."""
    max_attempts: int


class Engine:
    """Made by `aq.opening.open_engine`. Every method may be called from any task of its Trio run."""

    def __init__(
        self,
        services: Services,
        root: Root,
        signing_secrets: Sequence[Secret],
        tracer: Tracer | None = None,
    ) -> None:
        self.signing_secrets = signing_secrets
        """The decoded secrets that webhooks are signed with."""
        self.feed = services.feed
        """What happens, as it happens."""
        self.meter = services.meter
        """How much of it happened lately."""
        self.totals = services.totals
        """How much of it happened since the engine was opened."""
        self.opened_at = services.clock.now()
        self._claims = Claims(services.storage, services.clock)
        self.keys = Keyring(
            services.storage,
            services.committer,
            services.clock,
            services.minter,
            self._claims,
            self._refuse_if_unwritable,
        )
        self._services = services
        self._root = root
        self._tracer = tracer
        self._intake = Intake(services, root)
        self._intake_bytes = 0
        self.queues = Queues(root, services, self._claims, self._refuse_if_unwritable)
        self.scheduler = Scheduler(services.storage, services.committer, services.clock, self._intake)
        self.schedules = Schedules(
            self.scheduler,
            services.storage,
            services.clock,
            services.minter,
            self._refuse_if_unwritable,
            self.wrong_with,
            self._claims,
        )

    # -- tasks ----------------------------------------------------------------------------------------------
    async def submit(
        self,
        new: NewTask,
        *,
        environment: Environment = Environment.LIVE,
        trace: TraceContext = NO_TRACE,
    ) -> Task:
        """Accept a task. When this returns, it is durable and will be delivered.

        Raises ValidationError for a destination that the guard refuses, and for times that cannot be meant;
        ConflictError when its idempotency key was used for another task; OverloadedError, QuarantinedError,
        DrainingError, StorageUnavailableError when it was not accepted for now (after the last one it is not
        known). Cancelling the wait does not take the task back. The receiver is told its ``trace``.
        """
        return (await self.accept(new, environment=environment, trace=trace)).value.task

    async def accept(
        self,
        new: NewTask,
        *,
        environment: Environment = Environment.LIVE,
        trace: TraceContext = NO_TRACE,
    ) -> Answered[Receipt]:
        """As `submit`, with the values in force, and whether an earlier request got this answer."""
        if self._tracer is None:
            return await self._accept(new, environment, trace)
        with self._tracer.creating([new], trace) as creation:
            done = await self._accept(new, environment, creation.trace)
            creation.made([done.value.task])
        return done

    async def _accept(self, new: NewTask, environment: Environment, trace: TraceContext) -> Answered[Receipt]:
        self._refuse_if_unwritable()
        if wrong := self.wrong_with(new):
            raise ValidationError(wrong)
        claiming = self._claims.claiming(environment, new.idempotency_key, "task", new)

        async def ask() -> Receipt:
            with self._room_for(len(new.payload)) as given_back:
                reply = Reply[Receipt](on_done=given_back)
                key = QueueKey(environment, new.queue)
                await self._root.ask(key, Submit(new, trace, reply, claiming))
            return await reply.wait()

        return await self._claims.once(claiming, Receipt, ask)

    async def submit_all(
        self,
        news: Sequence[NewTask],
        *,
        environment: Environment = Environment.LIVE,
        trace: TraceContext = NO_TRACE,
        idempotency_key: str | None = None,
    ) -> Answered[list[Receipt]]:
        """Accept many tasks in one transaction, all or none; the receipts are in their order.

        Raises as `submit`; a ValidationError names its fields as ``tasks[2].priority``. Idempotency keys of
        single tasks are refused: one key covers the whole.
        """
        if self._tracer is None:
            return await self._accept_all(news, environment, trace, idempotency_key)
        with self._tracer.creating(news, trace) as creation:
            done = await self._accept_all(news, environment, creation.trace, idempotency_key)
            creation.made([receipt.task for receipt in done.value])
        return done

    async def _accept_all(
        self,
        news: Sequence[NewTask],
        environment: Environment,
        trace: TraceContext,
        idempotency_key: str | None,
    ) -> Answered[list[Receipt]]:
        self._refuse_if_unwritable()
        if wrong := self.wrong_in(news):
            raise ValidationError(wrong)
        claiming = self._claims.claiming(environment, idempotency_key, "tasks", *news)
        policies = self._services.policies

        def receipts(tasks: Sequence[Task]) -> list[Receipt]:
            return [Receipt(task, *lifecycle.in_force(task, policies.known(task.queue))) for task in tasks]

        def claim(tasks: Sequence[Task]) -> Sequence[Change]:
            return () if claiming is None else [claiming.of(receipts(tasks))]

        async def insert() -> list[Receipt]:
            with self._room_for(sum(len(new.payload) for new in news)) as given_back:
                try:
                    tasks = await self._intake.insert(environment, news, also=claim, trace=trace)
                except RefusedError as error:
                    raise not_accepted(Refused(error.reason)) from error
                finally:
                    given_back()
            return receipts(tasks)

        return await self._claims.once(claiming, list[Receipt], insert)

    async def retry(
        self,
        task_id: str,
        *,
        environment: Environment = Environment.LIVE,
        idempotency_key: str | None = None,
        sees: Callable[[str], bool] = lambda queue: True,
    ) -> Answered[Receipt]:
        """A failed task waits again, due now: history and numbers go on, its allowance of retries is fresh.

        Raises NotFoundError, also for whoever ``sees`` its queue not; ConflictError when it is not failed.
        """
        self._refuse_if_unwritable()
        claiming = self._claims.claiming(environment, idempotency_key, "retry", task_id)

        async def ask() -> Receipt:
            task = (await self._stored(task_id, environment)).task
            if not sees(task.queue.name):
                raise _no_such_task(task_id)
            if task.status is not Status.FAILED:
                raise ConflictError(f"only a failed task can be retried, and this one is {task.status}")
            reply = Reply[Receipt]()
            await self._root.ask(task.queue, Revive(task, reply, claiming))
            return await reply.wait()

        done = await self._claims.once(claiming, Receipt, ask)
        if not sees(done.value.task.queue.name):
            raise _no_such_task(task_id)
        return done

    async def get(self, task_id: str, *, environment: Environment = Environment.LIVE) -> TaskView:
        """A task with its payload and history. Raises NotFoundError."""
        stored = await self._stored(task_id, environment)
        task, callback = stored.task, None
        values = lifecycle.in_force(task, await self._services.policies.of(task.queue))
        if task.callback_id is not None:
            callback = await self._services.storage.task(task.callback_id)
        return TaskView(
            task, stored.payload, stored.attempts, *values, None if callback is None else callback.task
        )

    async def explain(self, task_id: str, *, environment: Environment = Environment.LIVE) -> Explanation:
        """Why a task is not running, as its queue's supervisor knows it, and the retries to come.

        Raises NotFoundError, and OverloadedError when the supervisor has too much to do.
        """
        task = (await self._stored(task_id, environment)).task
        now = self._services.clock.now()
        if task.status.final:
            return Explanation(task, (Reason(Why.ENDED, _ENDED[task.status]),))
        beside = await self._beside(task)
        reply = Reply[Explanation]()
        try:
            await self._root.ask(task.queue, Explain(task, reply))
            told = await reply.wait()
        except (DrainingError, QuarantinedError) as error:
            policy = await self._services.policies.of(task.queue)
            if isinstance(error, QuarantinedError):
                beside.append(Reason(Why.QUARANTINED, str(error)))
            return Explanation(task, tuple(beside), exact=False, retries=calendar(task, policy, now))
        return evolve(told, reasons=(*told.reasons, *beside))

    async def _beside(self, task: Task) -> list[Reason]:
        """What no queue knows."""
        reasons = [Reason(Why.STORAGE, problem) for problem in self.problems()]
        if self.draining and task.status is Status.PENDING:
            reasons.append(Reason(Why.DRAINING, "the service is shutting down: nothing starts any more"))
        if task.ordering_key is not None and task.status is Status.PENDING:
            head = await self._services.storage.head_of(task.queue, task.ordering_key)
            if head not in (None, task.id):
                reasons.append(Reason(Why.ORDERING_KEY, f"task {head} of its ordering key goes first"))
        return reasons

    async def list(
        self,
        *,
        queue: str | None = None,
        status: Status | None = None,
        limit: int = 20,
        offset: int = 0,
        environment: Environment = Environment.LIVE,
    ) -> TaskPage:
        """Tasks, newest first, without payloads and attempts; the total is exact. Raises ValueError."""
        which = TaskFilter(environment, None if queue is None else (queue,), status)
        return await self.find(which, limit=limit, offset=offset)

    async def find(
        self,
        which: TaskFilter,
        *,
        limit: int = 20,
        offset: int = 0,
        before: str | None = None,
        after: str | None = None,
    ) -> TaskPage:
        """As `list`, with every filter there is; ``before`` goes on below a page's ``more``.

        ``after`` begins above that task and goes upwards, the oldest first. Only one of the three.
        """
        if limit < 1 or offset < 0:
            raise ValueError("limit must be at least 1 and offset at least 0")
        return await self._services.storage.list_tasks(
            which, limit=limit, offset=offset, before=before, after=after
        )

    async def failures(
        self, *, environment: Environment = Environment.LIVE, queues: tuple[str, ...] | None = None
    ) -> Failures:
        """Failed tasks by queue, destination and error type, of these queues or of all.

        The `MOST_GROUPED` created last are looked at, so that it takes no longer however many have failed.
        """
        return await self._services.storage.failures(environment, queues, most=MOST_GROUPED)

    async def delete(self, task_id: str, *, environment: Environment = Environment.LIVE) -> None:
        """Delete a pending task. When this returns, it will never be delivered.

        Raises NotFoundError, and ConflictError when it has started or ended.
        """
        self._refuse_if_unwritable()
        key = (await self._stored(task_id, environment)).task.queue
        reply = Reply[None]()
        await self._root.ask(key, Remove(task_id, reply))
        await reply.wait()

    async def wait(self, task_id: str, *, environment: Environment = Environment.LIVE) -> TaskView:
        """Until a task is completed or failed; costs nothing while it waits.

        Raises NotFoundError, also when it is deleted meanwhile; DrainingError when the engine closes first.
        For a limit in time put it under `trio.fail_after`.
        """
        with self._services.waiters.watch(task_id) as ended:
            view = await self.get(task_id, environment=environment)
            if not view.task.status.final:
                await ended.wait()
                if self._services.waiters.closed:
                    raise DrainingError
                view = await self.get(task_id, environment=environment)
            return view

    def wrong_with(self, new: NewTask) -> Sequence[FieldError]:
        """What no field shows alone, and `submit` refuses: times that cannot be meant, and where a webhook
        may not go, as far as the guard sees it without a look-up. It looks again at every connect.
        """
        wrong = Gathering()
        for field in ("webhook_url", "callback_url"):
            refusal = self._forbidden(getattr(new, field))
            if refusal is not None:
                wrong.errors.append(
                    FieldError(
                        field, f"must not go to {refusal}, unless the service was started with --allow"
                    )
                )
        if new.run_at is not None or new.expires_in is not None:
            with wrong:
                clock = self._services.clock
                lifecycle.times(new, clock.now(), math.floor(clock.wall_offset() * SECOND))
        return wrong.errors

    def wrong_in(self, news: Sequence[NewTask]) -> Sequence[FieldError]:
        """The same of a batch: tasks are named by their place, and have no idempotency keys of their own."""
        wrong: list[FieldError] = []
        for place, new in enumerate(news):
            if errors := self.wrong_with(new):
                wrong += within(f"tasks[{place}]", ValidationError(errors))
            if new.idempotency_key is not None:
                wrong.append(FieldError(f"tasks[{place}].idempotency_key", "must not be given here"))
        return wrong

    def statistics(self) -> EngineStatistics:
        services = self._services
        return EngineStatistics(
            supervisors=self._root.supervisors,
            attempts_in_flight=services.capacity.in_use,
            writes_waiting=services.committer.waiting,
            intake_bytes=self._intake_bytes,
            commits=services.committer.commits,
            units=services.committer.units,
            restarts=self._root.restarts,
            destinations_held=len(services.holds),
            max_attempts=services.capacity.total,
        )

    # -- the service ----------------------------------------------------------------------------------------
    @property
    def draining(self) -> bool:
        return self._services.draining

    def begin_drain(self) -> None:
        """From now on no write is accepted and no attempt starts; what runs goes on."""
        self._services.draining = True

    async def drain(self, grace: float) -> None:
        """`begin_drain`, then wait at most ``grace`` seconds for the attempts that run."""
        self.begin_drain()
        with trio.move_on_after(grace):
            await self._services.capacity.wait_idle()

    def dismiss(self) -> None:
        """Who waits for a task's end or reads events is told that the service ends, and lets go."""
        self._services.feed.close()
        self._services.waiters.close()

    @property
    def quarantined(self) -> Sequence[str]:
        """Queues whose supervisor crashed too often; the others go on."""
        return [str(key) for key in sorted(self._root.quarantined)]

    async def close(self, seconds: float) -> None:
        """Cut short what runs, and write what is known, in at most so many seconds. `open_engine` does it."""
        self.begin_drain()
        self._root.stop()
        with trio.move_on_after(seconds):
            await self._root.stopped.wait()
            await self._services.committer.commit(())

    def problems(self) -> Sequence[str]:
        """Why nothing can be written, in words; empty when all is well."""
        committer = self._services.committer
        damage = self._services.storage.damage or committer.broken
        return [str(trouble) for trouble in (damage, committer.full) if trouble is not None]

    @property
    def clock(self) -> ServiceClock:
        """What "due" is measured by."""
        return self._services.clock

    # -- within ---------------------------------------------------------------------------------------------
    def _refuse_if_unwritable(self) -> None:
        if self._services.draining:
            raise DrainingError
        committer = self._services.committer
        if committer.full is not None:
            raise StorageFullError(str(committer.full))
        if committer.broken is not None:
            raise StorageCorruptError(str(committer.broken))

    async def _stored(self, task_id: str, environment: Environment) -> StoredTask:
        stored = await self._services.storage.task(task_id)
        if stored is None or stored.task.queue.environment is not environment:
            raise _no_such_task(task_id)
        return stored

    def _forbidden(self, url: str | None) -> str | None:
        """Why a webhook may not go to a URL, as far as that shows in it."""
        runner = self._services.runner
        if url is None or not isinstance(runner, WebhookRunner):
            return None
        return runner.guard.refusal_at_creation(parse_target(url))

    @contextmanager
    def _room_for(self, size: int) -> Iterator[Callable[[], None]]:
        """Payload bytes on their way to disk, until what this gives is called or the block fails."""
        if self._intake_bytes + size > MAX_INTAKE_BYTES:
            raise OverloadedError("too many bytes are on their way to disk; try again soon")
        self._intake_bytes += size
        back = [size]

        def given_back() -> None:
            while back:
                self._intake_bytes -= back.pop()

        try:
            yield given_back
        except BaseException:
            given_back()
            raise


def _no_such_task(task_id: str) -> NotFoundError:
    return NotFoundError(f"there is no task {task_id}")
