"""The front door: one engine, used alike by the HTTP API and by Trio apps that embed it.

    async with open_engine(storage="sqlite:///aq.db") as engine:
        task = await engine.submit(NewTask("emails", "https://example.com/hook", {"to": "ada"}))
        done = await engine.wait(task.id)

An engine has no global state: two of them in one process do not know of each other.
"""

from __future__ import annotations

import secrets as token
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from random import Random, SystemRandom
from typing import Final

import trio
from attrs import frozen

from aq.actors.capacity import Capacity
from aq.actors.committer import Committer
from aq.actors.messages import Remove, Reply, Submit
from aq.actors.root import Root
from aq.actors.services import Services, Sizes
from aq.actors.waiters import Waiters
from aq.clock import ServiceClock
from aq.delivery.protocol import Runner, Transport
from aq.delivery.signing import Secret, new_secret, parse_secrets
from aq.delivery.webhook import WebhookRunner, open_webhook_runner
from aq.errors import (
    DrainingError,
    FieldError,
    NotFoundError,
    OverloadedError,
    StorageCorruptError,
    StorageFullError,
    ValidationError,
)
from aq.ids import IdMinter
from aq.instants import from_seconds
from aq.policy import QueuePolicy
from aq.queues import Queues
from aq.storage import open_storage
from aq.storage.protocol import PutSetting, Storage, StoredTask, TaskFilter, TaskPage
from aq.target import parse_target
from aq.task import Attempt, Environment, NewTask, QueueKey, Status, Task

MAX_INTAKE_BYTES: Final = 64 << 20
"""Payload bytes that may be on their way to disk at once; beyond, `Engine.submit` is refused."""
FLUSH_SECONDS: Final = 5
"""How long the last writes may take when an engine closes. A full disk takes them never."""
_SECRET: Final = "signing_secret"  # noqa: S105  # the name of a setting


@frozen
class TaskView:
    """All that is known of a task. ``max_retries`` and ``timeout`` (seconds) are the values in force."""

    task: Task
    payload: bytes
    attempts: Sequence[Attempt]
    max_retries: int
    timeout: float


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


class Engine:
    """Made by `open_engine`. Every method may be called from any task of its Trio run."""

    def __init__(self, services: Services, root: Root, signing_secrets: Sequence[Secret]) -> None:
        self.queues = Queues(root, services.storage, self._refuse_if_unwritable)
        self.signing_secrets = signing_secrets
        """The decoded secrets that webhooks are signed with."""
        self._services = services
        self._root = root
        self._intake = 0

    # -- tasks ----------------------------------------------------------------------------------------------
    async def submit(
        self,
        new: NewTask,
        *,
        environment: Environment = Environment.LIVE,
        traceparent: str | None = None,
    ) -> Task:
        """Accept a task. When this returns, it is durable and will be delivered.

        Raises ValidationError for a destination that the guard refuses; OverloadedError, QuarantinedError,
        DrainingError, StorageUnavailableError when it was not accepted for now (after the last one it is not
        known). Cancelling the wait does not take the task back.
        """
        self._refuse_if_unwritable()
        self._refuse_forbidden(new.webhook_url)
        size = len(new.payload)
        if self._intake + size > MAX_INTAKE_BYTES:
            raise OverloadedError("too many bytes are on their way to disk; try again soon")
        self._intake += size
        reply = Reply[Task](on_done=lambda: self._intake_done(size))
        try:
            await self._root.ask(QueueKey(environment, new.queue), Submit(new, traceparent, reply))
        except BaseException:
            reply.fail(DrainingError())  # nobody will answer it: gives its bytes back
            raise
        return await reply.wait()

    async def get(self, task_id: str, *, environment: Environment = Environment.LIVE) -> TaskView:
        """A task with its payload and history. Raises NotFoundError."""
        stored = await self._stored(task_id, environment)
        max_retries, timeout = self.in_force(stored.task, await self.queues.policy(stored.task.queue))
        return TaskView(stored.task, stored.payload, stored.attempts, max_retries, timeout)

    @staticmethod
    def in_force(task: Task, policy: QueuePolicy) -> tuple[int, float]:
        """The max_retries and timeout (seconds) that hold for a task: its own, else its queue's."""
        return (
            policy.max_retries if task.max_retries is None else task.max_retries,
            policy.timeout if task.timeout is None else task.timeout,
        )

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
        if limit < 1 or offset < 0:
            raise ValueError("limit must be at least 1 and offset at least 0")
        which = TaskFilter(environment, queue, status)
        return await self._services.storage.list_tasks(which, limit=limit, offset=offset)

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

    def statistics(self) -> EngineStatistics:
        services = self._services
        return EngineStatistics(
            supervisors=self._root.supervisors,
            attempts_in_flight=services.capacity.in_use,
            writes_waiting=services.committer.waiting,
            intake_bytes=self._intake,
            commits=services.committer.commits,
            units=services.committer.units,
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

    async def settings(self) -> Mapping[str, str]:
        """The durable named values of the service."""
        return await self._services.storage.settings()

    async def put_setting(self, name: str, value: str) -> None:
        """Keep a named value; durable when this returns."""
        await self._services.committer.commit([PutSetting(name, value)])

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
            raise NotFoundError(f"there is no task {task_id}")
        return stored

    def _refuse_forbidden(self, webhook_url: str) -> None:
        """What the guard can see without a look-up; it looks again at every connect."""
        runner = self._services.runner
        if isinstance(runner, WebhookRunner):
            refusal = runner.guard.refusal_at_creation(parse_target(webhook_url))
            if refusal is not None:
                raise ValidationError([FieldError("webhook_url", refusal)])

    def _intake_done(self, size: int) -> None:
        self._intake -= size


@asynccontextmanager
async def open_engine(
    storage: str | Storage = "memory:",
    *,
    runner: Runner | None = None,
    transport: Transport | None = None,
    allow: Sequence[str] = (),
    signing_secrets: str | None = None,
    max_attempts: int = 1_000,
    grace: float = 8.0,
    sizes: Sizes | None = None,
    random: Random | None = None,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[Engine]:
    """Open a storage, recover what it holds, and run its queues until the block is left.

    ``storage`` is ``memory:``, ``sqlite:///PATH`` or a storage that is open already. ``runner`` is any
    ``async (Delivery) -> Outcome``; without one, tasks are delivered as signed webhooks, over ``transport``
    if given, to public addresses and the networks in ``allow`` (CIDR). ``signing_secrets`` are ``whsec_…``,
    comma-separated; without them the storage's own are used, made at the first opening. ``max_attempts``
    may be in flight over all queues. Leaving the block waits at most ``grace`` seconds for them; one cut
    short is recorded ``unknown`` and repeated after the next opening. ``random`` and ``wall`` (Unix
    seconds) can be given to make a run repeatable.

    Raises ValidationError, ValueError or TypeError for what cannot be meant, StorageError when the storage
    cannot be opened, and from the block when it fails for good.
    """
    _check(runner, allow, max_attempts)
    random = random or SystemRandom()
    async with _opened(storage) as store, _unwrapped(), trio.open_nursery() as committing:
        floor = await store.floor()
        clock = ServiceClock(wall=wall, floor=floor.now)
        committer = Committer(store, clock)
        committing.start_soon(committer.run)
        secrets = parse_secrets(signing_secrets or await _stored_secret(store, committer))
        async with _runner(runner, secrets, allow, wall, transport) as run:
            services = Services(
                storage=store,
                committer=committer,
                clock=clock,
                minter=IdMinter(random.getrandbits, floor.sequence),
                random=random,
                runner=run,
                capacity=Capacity(max_attempts),
                waiters=Waiters(),
                sizes=sizes or Sizes(),
            )
            async with trio.open_nursery() as nursery:
                root = Root(services)
                engine = Engine(services, root, secrets)
                await nursery.start(root.run)
                try:
                    yield engine
                    await engine.drain(grace)
                except Exception:
                    await engine.close(FLUSH_SECONDS)
                    raise
                await engine.close(FLUSH_SECONDS)
                nursery.cancel_scope.cancel()
        committing.cancel_scope.cancel()


def _check(runner: Runner | None, allow: Sequence[str], max_attempts: int) -> None:
    """Slips that would show late or in odd ways."""
    if max_attempts < 1:
        raise ValueError("max_attempts must be at least 1")
    if isinstance(allow, str):
        raise TypeError("allow is a list of networks, for example ['10.0.0.0/8']")
    if not (runner is None or callable(runner)):
        raise TypeError("a runner is an async function that takes a Delivery and returns an Outcome")


def _opened(storage: str | Storage) -> AbstractAsyncContextManager[Storage]:
    """A storage that was handed in stays open when the engine closes."""
    return open_storage(storage) if isinstance(storage, str) else nullcontext(storage)


def _runner(
    runner: Runner | None,
    secrets: Sequence[Secret],
    allow: Sequence[str],
    wall: Callable[[], float],
    transport: Transport | None,
) -> AbstractAsyncContextManager[Runner]:
    """Signatures carry the wall clock's time: a receiver checks them by its own."""
    if runner is not None:
        return nullcontext(runner)
    return open_webhook_runner(
        secrets=secrets, allow=allow, now=lambda: from_seconds(wall()), transport=transport
    )


async def _stored_secret(storage: Storage, committer: Committer) -> str:
    """The storage's own signing secret, made the first time it is asked for."""
    secret = (await storage.settings()).get(_SECRET)
    if secret is None:
        secret = str(new_secret(token.token_bytes))
        await committer.commit([PutSetting(_SECRET, secret)])
    return secret


@asynccontextmanager
async def _unwrapped() -> AsyncIterator[None]:
    """An error that left the nurseries alone is raised as itself, not in a group of one."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
