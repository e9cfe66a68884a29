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
from attrs import evolve
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aq.actors.services import Sizes
from aq.delivery.protocol import Delivery
from aq.engine import Engine
from aq.errors import ConflictError, NotFoundError
from aq.explanation import Why
from aq.instants import SECOND
from aq.opening import open_engine
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.storage.memory import MemoryStorage
from aq.storage.protocol import Storage
from aq.storage.sqlite import open_sqlite
from aq.task import NewTask, Status, Task
from tests.engine.machine_model import CLEARED_WITHIN, RETENTION, Bucket, Known, Policy, World
from tests.engine.session import TrioSession

T = TypeVar("T")
EPOCH = 1_790_000_000
QUEUES = ("a", "b")
A_DAY = 86_400

SUCCESS = Outcome.success()
FAILURE = Outcome.failure("no")
LATER = Outcome.failure("busy", retry_after=7)
BUSY = Outcome(status=AttemptStatus.FAILURE, error_type=ErrorType.HTTP_429, response_code=429, retry_after=3)
GONE = Outcome(status=AttemptStatus.FAILURE, error_type=ErrorType.GONE, response_code=410)


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
        self.world = World()
        self.claims: dict[str, tuple[Task, NewTask, float]] = {}
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
            self.storage = self.memory
            if self.durable:
                self.storage = await stack.enter_async_context(
                    open_sqlite(f"{self.directory.name}/aq.db", hop=inline)
                )
            self.scope = stack.enter_context(trio.CancelScope())
            self.engine: Engine = await stack.enter_async_context(
                open_engine(
                    self.storage,
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

    @property
    def now(self) -> float:
        return self.session.clock.current_time()

    # -- steps ----------------------------------------------------------------------------------------------
    @initialize(concurrency=st.integers(1, 3))
    def queues(self, concurrency: int) -> None:
        for queue in QUEUES:
            self.world.policies[queue] = Policy(concurrency)
            self.session.run(
                lambda queue=queue: self.engine.queues.create(  # type: ignore[misc]
                    queue,
                    concurrency=concurrency,
                    retry_jitter=0,
                    retention_completed=RETENTION[Status.COMPLETED],
                    retention_failed=RETENTION[Status.FAILED],
                )
            )

    @rule(
        queue=st.sampled_from(QUEUES),
        host=st.integers(1, 2),
        priority=st.integers(4, 6),
        delay=st.sampled_from([0, 0, 0, 1, 2, 5]),
        max_retries=st.sampled_from([None, None, 0, 1]),
        timeout=st.sampled_from([3, 900]),
        key=st.sampled_from([None, None, None, "k", "l"]),
        expires=st.sampled_from([None, None, None, 1, 4]),
        idempotency=st.sampled_from([None, None, None, None, "once", "twice"]),
    )
    def submit(
        self,
        queue: str,
        host: int,
        priority: int,
        delay: int,
        max_retries: int | None,
        timeout: int,
        key: str | None,
        expires: int | None,
        idempotency: str | None,
    ) -> None:
        if key is not None:  # two ends of one moment, one of which releases a task: either order is right
            timeout, expires = 900, None
        expires_in = None if expires is None else delay + expires
        new = NewTask(
            queue,
            f"http://{queue}{host}.example/",
            {"n": 1},
            delay,
            priority,
            max_retries,
            timeout,
            ordering_key=key,
            expires_in=expires_in,
            idempotency_key=idempotency,
        )
        claimed = self.claims.get(idempotency or "")
        if claimed is not None and claimed[2] > self.now:
            self.repeat(new, *claimed[:2])
            return
        task = self.session.run(lambda: self.engine.submit(new))
        self.know(task, new)
        self.world.settle()
        if idempotency is not None:
            self.claims[idempotency] = task, evolve(new, idempotency_key=None), self.now + A_DAY

    def repeat(self, new: NewTask, first: Task, asked: NewTask) -> None:
        if evolve(new, idempotency_key=None) == asked:
            assert self.session.run(lambda: self.engine.submit(new)) == first
        else:
            with pytest.raises(ConflictError):
                self.session.run(lambda: self.engine.submit(new))

    def know(self, task: Task, new: NewTask) -> None:
        assert task.status is Status.PENDING
        assert task.due_at == (EPOCH + self.now + new.delay) * SECOND
        assert all(task.id > other for other in self.world.tasks)
        assert new.timeout is not None
        self.world.tasks[task.id] = Known(
            task.id,
            new.queue,
            new.webhook_url,
            new.priority,
            self.now + new.delay,
            new.max_retries,
            new.timeout,
            key=new.ordering_key,
            expires_in=new.expires_in,
            expires=None if new.expires_in is None else self.now + new.expires_in,
        )

    @rule(
        queue=st.sampled_from(QUEUES),
        tasks=st.lists(st.tuples(st.integers(4, 6), st.integers(0, 3)), min_size=3, max_size=8),
        host=st.integers(1, 2),
    )
    def burst(self, queue: str, tasks: list[tuple[int, int]], host: int) -> None:
        """More at once than a window holds, in either heap: they spill."""
        for priority, delay in tasks:
            self.submit(queue, host, priority, delay, None, 900, None, None, None)

    @rule(
        tasks=st.lists(
            st.tuples(st.sampled_from(QUEUES), st.integers(4, 6), st.integers(0, 2), st.booleans()),
            min_size=1,
            max_size=5,
        )
    )
    def batch(self, tasks: list[tuple[str, int, int, bool]]) -> None:
        news = [
            NewTask(
                queue,
                f"http://{queue}1.example/",
                priority=priority,
                delay=delay,
                timeout=900,
                ordering_key="k" if keyed else None,
            )
            for queue, priority, delay, keyed in tasks
        ]
        done = self.session.run(lambda: self.engine.submit_all(news))
        for receipt, new in zip(done.value, news, strict=True):
            self.know(receipt.task, new)
        self.world.heads |= self.world.at_their_turn()  # they all come at once
        self.world.settle()

    @rule(seconds=st.integers(1, 6))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.jump(1)

    @rule(seconds=st.sampled_from([60, A_DAY + 1]))
    def much_time_passes(self, seconds: int) -> None:
        self.jump(seconds)

    def jump(self, seconds: int) -> None:
        while opening := self.opens_for_others(self.now + seconds):
            self.conclude(opening, SUCCESS)

        async def tick() -> None:
            self.session.clock.jump(seconds)

        self.session.run(tick)
        self.world.now = self.now
        for task in self.world.tasks.values():
            if task.status is Status.ACTIVE and task.times_out <= self.now:
                self.world.conclude(task, Outcome(status=AttemptStatus.TIMEOUT))
        self.world.settle()

    def opens_for_others(self, at: float) -> str | None:
        """Of the attempts that would time out until then, one whose end lets others start.

        Two ends of one moment may be heard in either order, and which task starts is then right either way.
        """
        ending = [task_id for task_id in self.runner.held if self.world.tasks[task_id].times_out <= at]
        probes, policies = self.world.probes.values(), self.world.policies

        def opens(task: Known) -> bool:
            return task.id in probes or task.key is not None or policies[task.queue].per_host is not None

        return next((one for one in ending if opens(self.world.tasks[one])), None)

    @precondition(lambda self: self.runner.held)
    @rule(data=st.data(), outcome=st.sampled_from([SUCCESS, FAILURE, FAILURE, LATER, BUSY, BUSY, GONE]))
    def attempt_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        self.conclude(data.draw(st.sampled_from(sorted(self.runner.held))), outcome)

    def conclude(self, task_id: str, outcome: Outcome) -> None:
        async def end() -> None:
            self.runner.end(task_id, outcome)

        self.session.run(end)
        self.world.conclude(self.world.tasks[task_id], outcome)
        self.world.settle()

    @precondition(lambda self: self.world.tasks)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        task = self.world.tasks[data.draw(st.sampled_from(sorted(self.world.tasks)))]
        if task.status is Status.PENDING:
            self.session.run(lambda: self.engine.delete(task.id))
            self.world.forget(task)
            self.world.settle()
        else:
            with pytest.raises((ConflictError, NotFoundError)):
                self.session.run(lambda: self.engine.delete(task.id))

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        failed = [t.id for queue in QUEUES for t in self.world.of(queue, Status.FAILED)]
        if failed:
            task = self.world.tasks[data.draw(st.sampled_from(sorted(failed)))]
            try:
                self.session.run(lambda: self.engine.retry(task.id))
            except NotFoundError:
                return  # its retention is over; `compare` sees to it that this was not too early
            self.world.revive(task)
            self.world.settle()

    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: str) -> None:
        pending = self.world.of(queue, Status.PENDING)
        assert self.session.run(lambda: self.engine.queues.purge(queue)) == len(pending)
        for task in pending:
            self.world.forget(task)
        self.world.settle()

    @rule(queue=st.sampled_from(QUEUES))
    def retry_all(self, queue: str) -> None:
        self.session.run(self.forget_what_is_over)
        failed = self.world.of(queue, Status.FAILED)
        done = self.session.run(lambda: self.engine.queues.retry(queue))
        assert done.value == len(failed)
        self.world.revive(*failed)
        self.world.settle()

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        self.session.run(lambda: self.engine.queues.update(queue, paused=paused))
        self.world.policies[queue].paused = paused
        self.world.settle()

    @rule(
        queue=st.sampled_from(QUEUES),
        concurrency=st.integers(1, 3),
        retries=st.integers(0, 3),
        per_host=st.sampled_from([None, 1, 2]),
    )
    def configure(self, queue: str, concurrency: int, retries: int, per_host: int | None) -> None:
        self.session.run(
            lambda: self.engine.queues.update(
                queue, concurrency=concurrency, max_retries=retries, destination_concurrency=per_host
            )
        )
        policy = self.world.policies[queue]
        policy.concurrency, policy.max_retries, policy.per_host = concurrency, retries, per_host
        self.world.settle()

    @rule(
        queue=st.sampled_from(QUEUES),
        limit=st.sampled_from([None, (0.25, 1), (0.5, 2), (1, 1), (2, 3)]),
    )
    def limit(self, queue: str, limit: tuple[float, int] | None) -> None:
        wanted = None if limit is None else {"per_second": limit[0], "burst": limit[1]}
        self.session.run(lambda: self.engine.queues.update(queue, rate_limit=wanted))
        policy = self.world.policies[queue]
        if limit is None:
            policy.bucket = None
        elif policy.bucket is None:
            policy.bucket = Bucket(*limit, at=self.now)
        else:
            policy.bucket.fill(self.now)
            policy.bucket.rate, policy.bucket.burst = limit
            policy.bucket.fill(self.now)
        self.world.settle()

    @rule(politely=st.booleans())
    def restart(self, politely: bool) -> None:
        self.session.run(self.close if politely else self.crash)
        self.session.run(self.open)
        self.world.restart()

    @precondition(lambda self: self.world.tasks)
    @rule(data=st.data())
    def explain(self, data: st.DataObject) -> None:
        """What waits though it is due has a reason, and it is the right one."""
        task = self.world.tasks[data.draw(st.sampled_from(sorted(self.world.tasks)))]
        try:
            told = self.session.run(lambda: self.engine.explain(task.id))
        except NotFoundError:
            return
        reasons = {reason.why for reason in told.reasons}
        policy = self.world.policies[task.queue]
        assert (Why.ENDED in reasons) == task.status.final
        assert (Why.RUNNING in reasons) == (task.status is Status.ACTIVE)
        if task.status is Status.PENDING:
            assert reasons
            assert (Why.SCHEDULED in reasons) == (task.due > self.now)
            assert (Why.PAUSED in reasons) == policy.paused
            assert (Why.ORDERING_KEY in reasons) == (task.key is not None and task.id not in self.world.heads)
            held = task.host in self.world.probes or self.world.held.get(task.host, 0) > self.now
            assert (Why.DESTINATION_HELD in reasons) == held

    # -- what must hold after every step --------------------------------------------------------------------
    @invariant()
    def the_right_tasks_run(self) -> None:
        active = {t.id for t in self.world.tasks.values() if t.status is Status.ACTIVE}
        assert set(self.runner.held) == active

    @invariant()
    def the_store_tells_the_same(self) -> None:
        self.session.run(self.compare)

    async def forget_what_is_over(self) -> None:
        """Finished tasks whose retention is over: gone within half a minute, never before."""
        for known in list(self.world.tasks.values()):
            over = known.finished + RETENTION.get(known.status, 0)
            if known.status.final and over <= self.now:
                try:
                    await self.engine.get(known.id)
                except NotFoundError:
                    self.world.forget(known)
                else:
                    assert self.now < over + CLEARED_WITHIN

    async def compare(self) -> None:
        await self.forget_what_is_over()
        for known in self.world.tasks.values():
            view = await self.engine.get(known.id)
            assert view.task.status is known.status
            assert [a.status for a in view.attempts] == known.attempts
            assert [a.number for a in view.attempts] == [*range(1, len(known.attempts) + 1)]
            assert all(a.executed_at >= view.task.created_at for a in view.attempts)
            assert view.task.failure_reason == known.reason
            if known.status is Status.PENDING:
                assert view.task.due_at == (EPOCH + known.due) * SECOND
        for task_id in self.world.gone:
            with pytest.raises(NotFoundError):
                await self.engine.get(task_id)
        for queue in self.world.policies:
            counts = (await self.engine.queues.get(queue)).counts
            for status in Status:
                assert getattr(counts, status) == len(self.world.of(queue, status))
        page = await self.engine.list(limit=100)
        assert [t.id for t in page.tasks] == sorted(self.world.tasks, reverse=True)[:100]
        assert page.total == len(self.world.tasks)
        assert await self.storage.audit() == []


async def inline(function: Callable[..., T], *args: object, limiter: object = None) -> T:
    """A thread hop that is none, so that "all tasks are blocked" means "at rest"."""
    await trio.lowlevel.checkpoint()
    return function(*args)


def run(durable: bool, examples: int, number: int | None = None) -> None:
    """So many programs of 40 steps, with ``number`` those that it decides. The first bad one is raised."""
    machine = type("Machine", (EngineMachine,), {"durable": durable})
    if number is not None:
        machine = seed(number)(machine)
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )


@pytest.mark.parametrize(("durable", "examples"), [(False, 150), (True, 50)])
def test_engine(durable: bool, examples: int) -> None:
    run(durable, examples)
