"""The whole engine on a virtual clock against a model, with crashes.

Time moves in whole seconds, every attempt is held until the machine decides its end, and after each step the
engine comes to rest; so at every moment the model knows exactly which tasks run, wait, have ended, are gone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from random import Random
from typing import TypeVar

import pytest
import trio
from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aq import lifecycle
from aq.actors.services import Sizes
from aq.delivery.protocol import Delivery
from aq.engine import Engine, open_engine
from aq.errors import ConflictError, NotFoundError
from aq.instants import SECOND
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.storage.memory import MemoryStorage
from aq.storage.protocol import Storage
from aq.storage.sqlite import open_sqlite
from aq.task import NewTask, Status
from tests.engine.session import TrioSession

T = TypeVar("T")
EPOCH = 1_790_000_000
QUEUES = ("a", "b")
URL = "http://receiver.example/"

SUCCESS = Outcome.success()
FAILURE = Outcome.failure("no")
LATER = Outcome.failure("busy", retry_after=7)
GONE = Outcome(status=AttemptStatus.FAILURE, error_type=ErrorType.GONE, response_code=410)


@define
class Known:
    """What the model knows of a task; times in seconds of the session's clock."""

    id: str
    queue: str
    priority: int
    due: float
    max_retries: int | None
    timeout: int
    status: Status = Status.PENDING
    began: float = 0
    failures: int = 0
    unknowns: int = 0
    attempts: list[str] = field(factory=list)

    @property
    def order(self) -> tuple[int, float, str]:
        return (-self.priority, self.due, self.id)


@define
class Policy:
    concurrency: int = 50
    max_retries: int = 3
    paused: bool = False


class Running:
    """A runner that holds every attempt until it is told how it ends."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[Delivery, trio.Event]] = {}
        self.outcomes: dict[str, Outcome] = {}

    async def __call__(self, delivery: Delivery) -> Outcome:
        assert delivery.task_id not in self.held, "two runners for one task"
        event = trio.Event()
        self.held[delivery.task_id] = delivery, event
        try:
            await event.wait()
            return self.outcomes.pop(delivery.task_id)
        finally:
            del self.held[delivery.task_id]

    def end(self, task_id: str, outcome: Outcome) -> None:
        self.outcomes[task_id] = outcome
        self.held[task_id][1].set()


class EngineMachine(RuleBasedStateMachine):
    """One store, one engine at a time, two queues."""

    durable: bool

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.session = TrioSession()
        self.session.__enter__()
        self.memory: Storage = MemoryStorage()
        """Outlives the engine, unlike what is open of a file."""
        self.tasks: dict[str, Known] = {}
        self.gone: set[str] = set()
        self.policies: dict[str, Policy] = {}
        self.runner = Running()
        self.seed = 0
        self.session.run(self.open)

    def teardown(self) -> None:
        try:
            self.session.run(self.close)
        finally:
            self.directory.cleanup()
            self.session.__exit__(None, None, None)

    # -- one life of the engine -----------------------------------------------------------------------------
    async def open(self) -> None:
        self.opened = trio.Event()
        self.closed = trio.Event()
        self.leave = trio.Event()
        self.session.nursery.start_soon(self.live)
        await self.opened.wait()

    async def live(self) -> None:
        self.seed += 1
        async with AsyncExitStack() as stack:
            stack.callback(self.closed.set)
            storage = self.memory
            if self.durable:
                storage = await stack.enter_async_context(
                    open_sqlite(f"{self.directory.name}/aq.db", hop=inline)
                )
            self.scope = stack.enter_context(trio.CancelScope())
            self.engine: Engine = await stack.enter_async_context(
                open_engine(
                    storage,
                    runner=self.runner,
                    grace=0,
                    sizes=Sizes(window=2, idle=20),
                    random=Random(self.seed),
                    wall=lambda: EPOCH + trio.current_time(),
                )
            )
            self.opened.set()
            await self.leave.wait()

    async def close(self) -> None:
        self.leave.set()
        await self.closed.wait()

    async def crash(self) -> None:
        self.scope.cancel()
        await self.closed.wait()

    # -- the model ------------------------------------------------------------------------------------------
    @property
    def now(self) -> float:
        return self.session.clock.current_time()

    def of(self, queue: str, status: Status) -> list[Known]:
        return [t for t in self.tasks.values() if t.queue == queue and t.status is status]

    def start_due(self) -> None:
        """What the engine must have started by itself."""
        for queue, policy in self.policies.items():
            due = sorted((t for t in self.of(queue, Status.PENDING) if t.due <= self.now), key=order)
            free = 0 if policy.paused else policy.concurrency - len(self.of(queue, Status.ACTIVE))
            for task in due[: max(0, free)]:
                task.status, task.began = Status.ACTIVE, self.now

    def conclude(self, task: Known, outcome: Outcome) -> None:
        policy = self.policies[task.queue]
        task.attempts.append(outcome.status)
        if outcome.succeeded:
            task.status = Status.COMPLETED
            return
        unknown = outcome.status is AttemptStatus.UNKNOWN
        task.unknowns = task.unknowns + 1 if unknown else 0
        free = unknown and task.unknowns <= lifecycle.UNKNOWNS_FORGIVEN
        task.failures += 0 if free else 1
        allowed = policy.max_retries if task.max_retries is None else task.max_retries
        if outcome.final or task.failures > allowed:
            task.status = Status.FAILED
            return
        task.status = Status.PENDING
        wait = 0 if free else 2 ** (task.failures - 1)
        task.due = self.now + max(wait, outcome.retry_after or 0)

    # -- steps ----------------------------------------------------------------------------------------------
    @initialize(concurrency=st.integers(1, 3))
    def queues(self, concurrency: int) -> None:
        for queue in QUEUES:
            self.policies[queue] = Policy(concurrency)
            self.session.run(
                lambda queue=queue: self.engine.queues.create(  # type: ignore[misc]
                    queue, concurrency=concurrency, retry_jitter=0
                )
            )

    @rule(
        queue=st.sampled_from(QUEUES),
        priority=st.integers(4, 6),
        delay=st.sampled_from([0, 0, 0, 1, 2, 5]),
        max_retries=st.sampled_from([None, None, 0, 1]),
        timeout=st.sampled_from([3, 900]),
    )
    def submit(self, queue: str, priority: int, delay: int, max_retries: int | None, timeout: int) -> None:
        new = NewTask(queue, URL, {"n": len(self.tasks)}, delay, priority, max_retries, timeout)
        task = self.session.run(lambda: self.engine.submit(new))
        assert task.status is Status.PENDING
        assert task.due_at == (EPOCH + self.now + delay) * SECOND
        assert all(task.id > other for other in self.tasks)
        self.tasks[task.id] = Known(task.id, queue, priority, self.now + delay, max_retries, timeout)
        self.start_due()

    @rule(
        queue=st.sampled_from(QUEUES),
        tasks=st.lists(st.tuples(st.integers(4, 6), st.integers(0, 3)), min_size=3, max_size=8),
    )
    def burst(self, queue: str, tasks: list[tuple[int, int]]) -> None:
        """More at once than a window holds, in either heap: they spill."""
        for priority, delay in tasks:
            self.submit(queue, priority, delay, None, 900)

    @rule(seconds=st.integers(1, 6))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.session.run(self.tick)
            for task in self.tasks.values():
                if task.status is Status.ACTIVE and task.began + task.timeout <= self.now:
                    self.conclude(task, Outcome(status=AttemptStatus.TIMEOUT))
            self.start_due()

    async def tick(self) -> None:
        self.session.clock.jump(1)

    @precondition(lambda self: self.runner.held)
    @rule(data=st.data(), outcome=st.sampled_from([SUCCESS, FAILURE, FAILURE, LATER, GONE]))
    def attempt_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.runner.held)))

        async def end() -> None:
            self.runner.end(task_id, outcome)

        self.session.run(end)
        self.conclude(self.tasks[task_id], outcome)
        self.start_due()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        task = self.tasks[data.draw(st.sampled_from(sorted(self.tasks)))]
        if task.status is Status.PENDING:
            self.session.run(lambda: self.engine.delete(task.id))
            self.gone.add(task.id)
            del self.tasks[task.id]
        else:
            with pytest.raises(ConflictError):
                self.session.run(lambda: self.engine.delete(task.id))

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        self.session.run(lambda: self.engine.queues.update(queue, paused=paused))
        self.policies[queue].paused = paused
        self.start_due()

    @rule(queue=st.sampled_from(QUEUES), concurrency=st.integers(1, 3), retries=st.integers(0, 3))
    def configure(self, queue: str, concurrency: int, retries: int) -> None:
        self.session.run(
            lambda: self.engine.queues.update(queue, concurrency=concurrency, max_retries=retries)
        )
        self.policies[queue].concurrency = concurrency
        self.policies[queue].max_retries = retries
        self.start_due()

    @rule(politely=st.booleans())
    def restart(self, politely: bool) -> None:
        self.session.run(self.close if politely else self.crash)
        self.session.run(self.open)
        for task in self.tasks.values():
            if task.status is Status.ACTIVE:
                self.conclude(task, Outcome(status=AttemptStatus.UNKNOWN))
        self.start_due()

    # -- what must hold after every step --------------------------------------------------------------------
    @invariant()
    def the_right_tasks_run(self) -> None:
        active = {t.id for t in self.tasks.values() if t.status is Status.ACTIVE}
        assert set(self.runner.held) == active

    @invariant()
    def the_store_tells_the_same(self) -> None:
        self.session.run(self.compare)

    async def compare(self) -> None:
        for known in self.tasks.values():
            view = await self.engine.get(known.id)
            assert view.task.status is known.status
            assert [a.status for a in view.attempts] == known.attempts
            assert [a.number for a in view.attempts] == [*range(1, len(known.attempts) + 1)]
            assert all(a.executed_at >= view.task.created_at for a in view.attempts)
            if known.status is Status.PENDING:
                assert view.task.due_at == (EPOCH + known.due) * SECOND
        for task_id in self.gone:
            with pytest.raises(NotFoundError):
                await self.engine.get(task_id)
        for queue in self.policies:
            counts = (await self.engine.queues.get(queue)).counts
            for status in Status:
                assert getattr(counts, status) == len(self.of(queue, status))
        page = await self.engine.list(limit=100)
        assert [t.id for t in page.tasks] == sorted(self.tasks, reverse=True)[:100]
        assert page.total == len(self.tasks)


def order(task: Known) -> tuple[int, float, str]:
    return task.order


async def inline(function: Callable[..., T], *args: object, limiter: object = None) -> T:
    """A thread hop that is none, so that "all tasks are blocked" means "at rest"."""
    await trio.lowlevel.checkpoint()
    return function(*args)


@pytest.mark.parametrize(("durable", "examples"), [(False, 150), (True, 60)])
def test_engine(durable: bool, examples: int) -> None:
    machine = type("Machine", (EngineMachine,), {"durable": durable})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
