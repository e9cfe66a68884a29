"""The engine by itself, on memory storage and a virtual clock, with runners that do as they are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from aq.actors.services import Sizes
from aq.delivery.protocol import Delivery, Runner
from aq.engine import MAX_INTAKE_BYTES, Engine
from aq.errors import (
    ConflictError,
    DrainingError,
    NotFoundError,
    OverloadedError,
    QuarantinedError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnavailableError,
    ValidationError,
)
from aq.instants import SECOND
from aq.opening import FLUSH_SECONDS, open_engine
from aq.outcome import AttemptStatus, ErrorType, Outcome, Timing
from aq.storage import open_storage
from aq.storage.answers import TaskFilter
from aq.storage.changes import Insert, Unit, Update
from aq.storage.protocol import Storage
from aq.task import Environment, JsonText, NewTask, Status, TraceContext
from tests.engine.storages import Faulty

URL = "http://receiver.example/"


async def succeed(delivery: Delivery) -> Outcome:
    return Outcome.success()


class Held:
    """Holds every attempt until `release`; remembers the order in which they began."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.released = trio.Event()

    async def __call__(self, delivery: Delivery) -> Outcome:
        self.began.append(delivery.task_id)
        await self.released.wait()
        return Outcome.success()


@asynccontextmanager
async def faulty_engine(runner: Runner = succeed, **options: Any) -> AsyncIterator[tuple[Engine, Faulty]]:
    async with open_storage("memory:") as storage:
        faulty = Faulty(storage)
        async with open_engine(faulty, runner=runner, **options) as engine:
            yield engine, faulty


def taking(seconds: float) -> Callable[[Sequence[Unit]], Awaitable[None]]:
    """For ``before_commit``: every commit takes so long."""

    async def wait(units: Sequence[Unit]) -> None:
        await trio.sleep(seconds)

    return wait


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


# -- the main path ------------------------------------------------------------------------------------------
async def test_submit_then_wait() -> None:
    seen: list[Delivery] = []

    async def runner(delivery: Delivery) -> Outcome:
        seen.append(delivery)
        return Outcome.success()

    async with open_engine(runner=runner) as engine:
        task = await engine.submit(
            NewTask("emails", URL, {"n": 1}, priority=8), trace=TraceContext("00-a-b-01")
        )
        assert (task.status, task.attempt) == (Status.PENDING, 0)
        view = await engine.wait(task.id)
    assert view.task.status is Status.COMPLETED
    assert (view.max_retries, view.timeout, view.payload) == (3, 30, b'{"n":1}')
    assert [(a.number, a.status) for a in view.attempts] == [(1, AttemptStatus.SUCCESS)]
    (delivery,) = seen
    assert (delivery.task_id, delivery.attempt, delivery.timeout) == (task.id, 1, 30)
    assert (delivery.json(), delivery.traceparent, delivery.queue.name) == (
        {"n": 1},
        "00-a-b-01",
        "emails",
    )


async def test_a_fresh_task_costs_one_commit_before_its_attempt() -> None:
    held = Held()
    async with faulty_engine(held) as (engine, storage):
        await engine.submit(NewTask("q", URL))
        await settled()
        before = len(storage.committed)
        await engine.submit(NewTask("q", URL))
        await settled()
        assert (len(held.began), len(storage.committed) - before) == (2, 1)
        held.released.set()


async def test_nothing_is_acknowledged_or_delivered_before_its_commit() -> None:
    may_commit, held = trio.Event(), Held()

    def hold_inserts(units: Sequence[Unit]) -> object:
        inserts = [c for unit in units for c in unit if isinstance(c, Insert)]
        return may_commit.wait() if inserts else None

    async with faulty_engine(held) as (engine, storage), trio.open_nursery() as nursery:
        storage.before_commit = hold_inserts
        acknowledged = trio.Event()

        async def submit() -> None:
            await engine.submit(NewTask("q", URL))
            acknowledged.set()

        nursery.start_soon(submit)
        await settled()
        assert not acknowledged.is_set()
        assert not held.began
        may_commit.set()
        await settled()
        assert acknowledged.is_set()
        assert held.began
        held.released.set()


async def test_a_waiting_supervisor_wakes_for_an_earlier_task(autojump_clock: object) -> None:
    began: list[tuple[str, float]] = []

    async def runner(delivery: Delivery) -> Outcome:
        began.append((delivery.json()["name"], trio.current_time()))
        return Outcome.success()

    async with open_engine(runner=runner) as engine:
        start = trio.current_time()
        late = await engine.submit(NewTask("q", URL, {"name": "late"}, delay=100))
        soon = await engine.submit(NewTask("q", URL, {"name": "soon"}, delay=5))
        await engine.wait(soon.id)
        await engine.wait(late.id)
    assert [(name, at - start) for name, at in began] == [("soon", 5), ("late", 100)]


async def test_order_by_priority_then_due_then_creation(autojump_clock: object) -> None:
    held = Held()
    async with open_engine(runner=held) as engine:
        await engine.queues.create("q", concurrency=1)
        first = await engine.submit(NewTask("q", URL))
        plan = [(5, 0), (1, 0), (10, 2), (5, 1), (10, 1), (5, 0), (1, 1), (10, 1)]
        made = [await engine.submit(NewTask("q", URL, {}, delay, priority)) for priority, delay in plan]
        await trio.sleep(3)
        held.released.set()
        for task in made:
            await engine.wait(task.id)
    expected = sorted(made, key=lambda t: (-t.priority, t.due_at, t.id))
    assert held.began == [first.id, *(t.id for t in expected)]


async def test_a_timed_out_attempt_gives_its_slot_back(autojump_clock: object) -> None:
    began: list[str] = []

    async def hang_once(delivery: Delivery) -> Outcome:
        began.append(delivery.task_id)
        if len(began) == 1:
            await trio.sleep_forever()
        return Outcome.success()

    async with open_engine(runner=hang_once) as engine:
        await engine.queues.create("q", concurrency=1)
        hanging = await engine.submit(NewTask("q", URL, timeout=7, max_retries=0))
        behind = await engine.submit(NewTask("q", URL))
        start = trio.current_time()
        with trio.fail_after(60):
            await engine.wait(behind.id)
        assert trio.current_time() - start == 7
        (attempt,) = (await engine.wait(hanging.id)).attempts
    assert (attempt.status, attempt.error_type) == (AttemptStatus.TIMEOUT, ErrorType.TIMEOUT)
    assert (attempt.duration_us, attempt.error) == (7 * SECOND, "no answer within 7 s")


@pytest.mark.parametrize("broken", ["raises", "lies"])
async def test_a_broken_runner_is_a_failed_attempt(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    async def runner(delivery: Delivery) -> Outcome:
        if broken == "raises":
            raise RuntimeError("no such template")
        return "done"  # type: ignore[return-value]

    async with open_engine(runner=runner) as engine:
        task = await engine.submit(NewTask("q", URL, max_retries=0))
        view = await engine.wait(task.id)
    (attempt,) = view.attempts
    assert (view.task.status, attempt.status) == (Status.FAILED, AttemptStatus.ERROR)
    assert attempt.error in (
        "the runner raised RuntimeError: no such template",
        "the runner returned str, not an Outcome",
    )


async def test_retries_wait_their_backoff(autojump_clock: object) -> None:
    began: list[float] = []

    async def fail(delivery: Delivery) -> Outcome:
        began.append(trio.current_time())
        await trio.sleep(3)  # backoff counts from the end of this
        return Outcome.failure("no")

    async with open_engine(runner=fail) as engine:
        await engine.queues.create("q", retry_jitter=0)
        task = await engine.submit(NewTask("q", URL))
        view = await engine.wait(task.id)
    gaps = [later - earlier for earlier, later in pairwise(began)]
    assert gaps == pytest.approx([3 + 1, 3 + 2, 3 + 4])
    assert view.task.status is Status.FAILED
    assert [a.number for a in view.attempts] == [1, 2, 3, 4]


async def test_a_policy_holds_for_waiting_tasks_at_once(autojump_clock: object) -> None:
    async def fail(delivery: Delivery) -> Outcome:
        return Outcome.failure("no")

    async with open_engine(runner=fail) as engine:
        task = await engine.submit(NewTask("q", URL, delay=10))
        await engine.queues.update("q", max_retries=0)
        view = await engine.wait(task.id)
    assert (view.max_retries, len(view.attempts)) == (0, 1)


# -- queues -------------------------------------------------------------------------------------------------
async def test_pause_and_resume() -> None:
    async with open_engine(runner=succeed) as engine:
        await engine.queues.create("q", paused=True)
        task = await engine.submit(NewTask("q", URL))
        await settled()
        assert (await engine.get(task.id)).task.status is Status.PENDING
        await engine.queues.resume("q")
        await engine.wait(task.id)


async def test_queues_are_made_read_changed_and_deleted() -> None:
    async with open_engine(runner=succeed) as engine:
        made = await engine.queues.create("q", concurrency=7)
        assert made == await engine.queues.get("q")
        with pytest.raises(ConflictError):
            await engine.queues.create("q")
        changed = await engine.queues.update("q", retry_backoff="linear", timeout=60)
        assert (changed.policy.concurrency, changed.policy.timeout, changed.version) == (7, 60, 2)
        with pytest.raises(ValidationError) as caught:
            await engine.queues.update("q", concurrency=0, colour="red")
        assert {error.field for error in caught.value.errors} == {"concurrency", "colour"}
        with pytest.raises(ValidationError):
            await engine.queues.create("a b")
        done = await engine.submit(NewTask("q", URL))
        await engine.wait(done.id)
        await engine.queues.delete("q")
        assert await engine.queues.list() == []
        for gone in (engine.get(done.id), engine.queues.get("q"), engine.queues.delete("q")):
            with pytest.raises(NotFoundError):
                await gone
        with pytest.raises(NotFoundError):
            await engine.queues.pause("q")


async def test_a_queue_with_work_left_is_not_deleted() -> None:
    async with open_engine(runner=succeed) as engine:
        task = await engine.submit(NewTask("q", URL, delay=60))
        with pytest.raises(ConflictError, match="1 pending"):
            await engine.queues.delete("q")
        await engine.delete(task.id)
        await engine.queues.delete("q")
        again = await engine.submit(NewTask("q", URL))
        await engine.wait(again.id)


async def test_a_long_history_is_deleted_in_steps() -> None:
    async with faulty_engine(sizes=Sizes(requests=2_000)) as (engine, storage):
        async with trio.open_nursery() as nursery:
            for _ in range(1_200):
                nursery.start_soon(engine.submit, NewTask("q", URL))
        await settled()
        before = len(storage.committed)
        await engine.queues.delete("q")
        assert len(storage.committed) - before == 2 + 3 + 1  # barrier, mark, sweeps, drop


async def test_sandbox_tasks_are_kept_and_never_run() -> None:
    held = Held()
    async with open_engine(runner=held) as engine:
        task = await engine.submit(NewTask("q", URL), environment=Environment.TEST)
        await settled()
        view = await engine.get(task.id, environment=Environment.TEST)
        assert (view.task.status, held.began) == (Status.PENDING, [])
        with pytest.raises(NotFoundError):
            await engine.get(task.id)
        assert (await engine.list()).total == 0
        held.released.set()


# -- bounds -------------------------------------------------------------------------------------------------
async def test_a_full_mailbox_refuses_callers() -> None:
    stuck = trio.Event()
    async with faulty_engine(sizes=Sizes(requests=5)) as (engine, storage):
        storage.before_commit = lambda units: stuck.wait()
        refused: list[Exception] = []

        async def submit() -> None:
            try:
                await engine.submit(NewTask("q", URL))
            except OverloadedError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(9):
                nursery.start_soon(submit)
            await settled()
            assert len(refused) == 4
            stuck.set()
        assert (await engine.list()).total == 5


async def test_bytes_on_their_way_to_disk_are_bounded() -> None:
    stuck = trio.Event()
    big = JsonText(b'{"x":"' + b"x" * 1_000_000 + b'"}')
    async with faulty_engine() as (engine, storage):
        storage.before_commit = lambda units: stuck.wait()
        refused: list[Exception] = []

        async def submit() -> None:
            try:
                await engine.submit(NewTask("q", URL, big))
            except OverloadedError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(MAX_INTAKE_BYTES // len(big) + 3):
                nursery.start_soon(submit)
            await settled()
            assert len(refused) == 3
            stuck.set()
        assert engine.statistics().intake_bytes == 0


async def test_a_caller_that_gives_up_gives_its_bytes_back_when_its_write_settles() -> None:
    stuck = trio.Event()
    async with faulty_engine() as (engine, storage):
        storage.before_commit = lambda units: stuck.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.submit, NewTask("q", URL, {"a": 1}))
            await settled()
            nursery.cancel_scope.cancel()
        assert engine.statistics().intake_bytes == len(b'{"a":1}')
        stuck.set()
        await settled()
        assert engine.statistics().intake_bytes == 0
        assert (await engine.list()).total == 1  # cancelling the wait takes nothing back


async def test_attempts_over_all_queues_are_bounded_and_queues_take_turns() -> None:
    began: list[str] = []
    release = trio.Semaphore(0)

    async def runner(delivery: Delivery) -> Outcome:
        began.append(delivery.queue.name)
        await release.acquire()
        return Outcome.success()

    async with open_engine(runner=runner, max_attempts=2) as engine:
        for queue in ("a", "a", "a", "a", "b", "b", "c"):
            await engine.submit(NewTask(queue, URL))
        await settled()
        assert began == ["a", "a"]
        for _ in range(7):
            release.release()
            await settled()
        assert began[:6] == ["a", "a", "a", "b", "c", "a"]  # in the order in which they asked
        assert sorted(began) == sorted("aaaabbc")


# -- supervision --------------------------------------------------------------------------------------------
async def test_an_idle_supervisor_retires_and_comes_back(autojump_clock: object) -> None:
    async with open_engine(runner=succeed, sizes=Sizes(idle=60)) as engine:
        await engine.wait((await engine.submit(NewTask("q", URL))).id)
        await trio.sleep(59)
        assert engine.statistics().supervisors == 1
        await trio.sleep(2)
        assert engine.statistics().supervisors == 0
        await engine.wait((await engine.submit(NewTask("q", URL))).id)


async def test_a_supervisor_with_a_delayed_task_stays(autojump_clock: object) -> None:
    async with open_engine(runner=succeed, sizes=Sizes(idle=60)) as engine:
        task = await engine.submit(NewTask("q", URL, delay=86_400))
        start = trio.current_time()
        await engine.wait(task.id)
        assert trio.current_time() - start == 86_400


async def test_a_crashed_supervisor_is_restarted_and_loses_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = Held()
    async with faulty_engine(held, sizes=Sizes(window=1)) as (engine, storage):
        await engine.queues.create("q", concurrency=1)
        tasks = [await engine.submit(NewTask("q", URL)) for _ in range(8)]
        await settled()
        crashes = [RuntimeError("planted")]

        def crash_once() -> None:
            if crashes:
                raise crashes.pop()

        storage.before_read = crash_once  # at the next load of the window
        held.released.set()
        for task in tasks:
            assert (await engine.wait(task.id)).task.status is Status.COMPLETED
        assert not crashes
    assert "the supervisor of queue q crashed" in caplog.text


async def test_a_queue_that_keeps_crashing_is_quarantined_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with faulty_engine(sizes=Sizes(restarts=2)) as (engine, storage):

        def crash() -> None:
            raise RuntimeError("planted")

        storage.before_read = crash
        with pytest.raises(UnavailableError):
            await engine.submit(NewTask("bad", URL))
        with pytest.raises(QuarantinedError):
            await engine.submit(NewTask("bad", URL))
        assert engine.quarantined == ["bad"]
        storage.before_read = lambda: None
        await engine.wait((await engine.submit(NewTask("good", URL))).id)


async def test_reads_that_fail_for_a_moment_cost_nothing(autojump_clock: object) -> None:
    async with faulty_engine(sizes=Sizes(restarts=0, window=1)) as (engine, storage):
        failures = [StorageUnavailableError("busy") for _ in range(20)]

        def fail() -> None:
            if failures:
                raise failures.pop()

        await engine.queues.create("q", paused=True)
        tasks = [await engine.submit(NewTask("q", URL)) for _ in range(8)]
        storage.before_read = fail
        await engine.queues.resume("q")
        for task in tasks:
            await engine.wait(task.id)
        assert not failures
        assert not engine.quarantined


def throw(error: BaseException) -> Outcome:
    raise error


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Outcome.failure("no", retry_after=float("nan")),
        lambda: Outcome.failure("no", retry_after=-1),
        lambda: Outcome(status="fine"),
        lambda: Outcome(status=AttemptStatus.ERROR, response_code="500"),  # type: ignore[arg-type]
        lambda: Outcome(status=AttemptStatus.ERROR, response_code=2**70),
        lambda: Outcome(status=AttemptStatus.ERROR, timing=Timing(dns=object())),  # type: ignore[arg-type]
        lambda: Outcome(status=AttemptStatus.ERROR, timing=Timing(total=2**70)),
        lambda: 1 / 0,
        lambda: throw(asyncio.CancelledError()),
        lambda: throw(GeneratorExit()),
        lambda: throw(BaseExceptionGroup("several", [GeneratorExit(), ValueError()])),
    ],
)
async def test_no_runner_can_hurt_the_engine(
    bad: Callable[[], Outcome], caplog: pytest.LogCaptureFixture
) -> None:
    async def runner(delivery: Delivery) -> Outcome:
        return bad()

    async with open_engine(runner=runner, sizes=Sizes(restarts=0)) as engine:
        task = await engine.submit(NewTask("q", URL, max_retries=0))
        (attempt,) = (await engine.wait(task.id)).attempts
    assert attempt.status is AttemptStatus.ERROR
    assert attempt.error is not None
    assert attempt.error.startswith("the runner raised ")


async def test_an_error_that_is_no_utf8_or_too_long_is_kept_as_far_as_it_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def runner(delivery: Delivery) -> Outcome:
        if delivery.attempt == 1:
            raise RuntimeError("/tmp/\udcff")
        return Outcome(status=AttemptStatus.ERROR, error="x" * 5_000, response_body=b"y" * 50_000)

    caplog.set_level(logging.CRITICAL, "aq.actors.runner")  # a report of what is no UTF-8 is sent to nobody
    async with open_engine(f"sqlite:///{tmp_path}/aq.db", runner=runner) as engine:
        await engine.queues.create("q", retry_delay=0)
        task = await engine.submit(NewTask("q", URL, max_retries=1))
        one, two = (await engine.wait(task.id)).attempts
    assert one.error == "the runner raised RuntimeError: /tmp/?"
    assert two.error is not None
    assert two.response_body is not None
    assert (len(two.error), len(two.response_body)) == (1_000, 16 << 10)


async def test_order_holds_when_tasks_become_due_while_the_window_is_loaded(
    autojump_clock: object,
) -> None:
    held = Held()
    async with faulty_engine(held, sizes=Sizes(window=2)) as (engine, storage):
        await engine.queues.create("q", concurrency=1)
        blocker = await engine.submit(NewTask("q", URL))
        low = [await engine.submit(NewTask("q", URL, {}, 2, 2)) for _ in range(5)]
        high = [await engine.submit(NewTask("q", URL, {}, 2, 10)) for _ in range(5)]
        due = [await engine.submit(NewTask("q", URL, {}, 1, 1)) for _ in range(5)]
        await trio.sleep(1.9)

        async def slowly() -> None:
            await trio.sleep(0.5)

        storage.after_window = slowly
        held.released.set()
        for task in (*due, *low, *high):
            await engine.wait(task.id)
    expected = [blocker, due[0], *high, *low, *due[1:]]
    assert held.began == [task.id for task in expected]


# -- storage failures ---------------------------------------------------------------------------------------
async def test_a_full_disk_refuses_callers_and_keeps_outcomes(autojump_clock: object) -> None:
    held = Held()
    async with faulty_engine(held) as (engine, storage):
        task = await engine.submit(NewTask("q", URL))
        full = True

        def no_space(units: Sequence[Unit]) -> None:
            if full:
                raise StorageFullError("no space left on the device")

        storage.before_commit = no_space
        with pytest.raises(StorageFullError):
            await engine.submit(NewTask("q", URL))
        with pytest.raises(StorageFullError):
            await engine.queues.update("q", concurrency=1)
        await settled()
        assert (await engine.queues.policy(task.queue)).concurrency == 50
        held.released.set()
        await trio.sleep(5)
        assert (await engine.get(task.id)).task.status is Status.ACTIVE
        full = False
        assert (await engine.wait(task.id)).task.status is Status.COMPLETED
        await engine.wait((await engine.submit(NewTask("q", URL))).id)


async def test_a_first_task_that_was_refused_does_not_make_the_next_one_unknown(
    autojump_clock: object,
) -> None:
    async with faulty_engine() as (engine, storage):
        full = [StorageFullError("no space left on the device")]
        go = trio.Event()

        async def no_space() -> None:
            await go.wait()
            if full:
                raise full.pop()

        def inserts(units: Sequence[Unit]) -> object:
            return no_space() if any(isinstance(c, Insert) for unit in units for c in unit) else None

        storage.before_commit = inserts
        refused: list[Exception] = []

        async def submit() -> None:
            try:
                await engine.submit(NewTask("new", URL))
            except UnavailableError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(3):  # each in a turn of its own, the later ones behind the commit that fails
                nursery.start_soon(submit)
                await settled()
            go.set()
        assert refused
        await trio.sleep(1)  # until the disk has been probed
        await engine.wait((await engine.submit(NewTask("new", URL))).id)


async def test_a_delete_that_failed_leaves_the_task_to_be_delivered(autojump_clock: object) -> None:
    async with faulty_engine() as (engine, storage):
        task = await engine.submit(NewTask("q", URL, delay=60))
        full = [StorageFullError("no space left on the device")]

        def no_space(units: Sequence[Unit]) -> None:
            if full:
                raise full.pop()

        storage.before_commit = no_space
        with pytest.raises(StorageFullError):
            await engine.delete(task.id)
        assert (await engine.wait(task.id)).task.status is Status.COMPLETED


async def test_a_commit_in_doubt_is_repeated(autojump_clock: object) -> None:
    async with faulty_engine() as (engine, storage):
        failures = [StorageUnavailableError("busy") for _ in range(3)]

        def fail(units: Sequence[Unit]) -> None:
            if failures:
                raise failures.pop()

        storage.before_commit = fail
        await engine.wait((await engine.submit(NewTask("q", URL))).id)
        assert not failures


async def test_a_storage_that_keeps_failing_ends_the_engine(autojump_clock: object) -> None:
    def fail(units: Sequence[Unit]) -> None:
        raise StorageUnavailableError("busy")

    async def live() -> None:
        async with faulty_engine() as (engine, storage):
            storage.before_commit = fail
            await engine.submit(NewTask("q", URL))

    with pytest.raises(StorageError, match="50 times in a row"):
        await live()


async def test_a_full_disk_does_not_hold_up_the_end(autojump_clock: object) -> None:
    async with open_storage("memory:") as storage:
        faulty, held = Faulty(storage), Held()

        def no_space(units: Sequence[Unit]) -> None:
            raise StorageFullError("no space left on the device")

        async with open_engine(faulty, runner=held) as engine:
            task = await engine.submit(NewTask("q", URL, max_retries=0))
            await settled()
            faulty.before_commit = no_space
            held.released.set()
        async with open_engine(storage, runner=succeed) as engine:
            assert [a.status for a in (await engine.wait(task.id)).attempts] == ["unknown", "success"]


async def test_damage_stops_writing_and_is_shown() -> None:
    async with faulty_engine() as (engine, storage):
        await engine.wait((await engine.submit(NewTask("q", URL))).id)

        def damage(units: Sequence[Unit]) -> None:
            raise StorageCorruptError("the database is damaged")

        storage.before_commit = damage
        with pytest.raises(StorageCorruptError):
            await engine.submit(NewTask("q", URL))
        assert engine.problems() == ["the database is damaged"]
        assert (await engine.list()).total == 1


# -- the end ------------------------------------------------------------------------------------------------
async def test_draining_refuses_starts_nothing_and_lets_attempts_finish() -> None:
    held = Held()
    async with faulty_engine(held) as (engine, storage):
        await engine.queues.create("q", concurrency=1)
        running = await engine.submit(NewTask("q", URL))
        waiting = await engine.submit(NewTask("q", URL))
        await settled()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.drain, 30)
            await settled()
            with pytest.raises(DrainingError):
                await engine.submit(NewTask("q", URL))
            with pytest.raises(DrainingError):
                await engine.delete(waiting.id)
            held.released.set()
        await settled()
        assert (await engine.get(running.id)).task.status is Status.COMPLETED
        assert held.began == [running.id]
        ends = [c for units in storage.committed for unit in units for c in unit if isinstance(c, Update)]
        assert len(ends) == 1


async def test_an_attempt_cut_short_is_unknown_and_repeated(autojump_clock: object) -> None:
    async with open_storage("memory:") as storage:
        held = Held()
        async with open_engine(storage, runner=held, grace=2) as engine:
            task = await engine.submit(NewTask("q", URL, max_retries=0))
            await settled()
        async with open_engine(storage, runner=succeed) as engine:
            view = await engine.wait(task.id)
    assert [(a.number, a.status) for a in view.attempts] == [
        (1, AttemptStatus.UNKNOWN),
        (2, AttemptStatus.SUCCESS),
    ]


async def test_attempts_that_end_as_the_engine_closes_are_on_record() -> None:
    returned: list[str] = []
    release = trio.Event()

    async def runner(delivery: Delivery) -> Outcome:
        await release.wait()
        returned.append(delivery.task_id)
        return Outcome.success()

    async with open_storage("memory:") as storage:
        for _ in range(10):  # Trio shuffles who runs first
            release, returned = trio.Event(), []
            async with open_engine(storage, runner=runner, grace=0) as engine:
                for _ in range(3):
                    await engine.submit(NewTask("q", URL))
                await settled()
                release.set()
            async with open_engine(storage, runner=succeed) as engine:
                assert returned
                for task_id in returned:
                    (attempt,) = (await engine.wait(task_id)).attempts
                    assert attempt.status is AttemptStatus.SUCCESS


async def test_a_supervisor_that_still_recovers_does_not_hold_up_the_end(autojump_clock: object) -> None:
    async with open_storage("memory:") as storage:
        async with open_engine(storage, runner=succeed) as engine:
            await engine.submit(NewTask("q", URL, delay=3_600))
        faulty = Faulty(storage)
        faulty.before_commit = taking(1)
        began = trio.current_time()
        async with open_engine(faulty, runner=succeed, signing_secrets="whsec_" + "A" * 32):
            await settled()
        assert trio.current_time() - began < FLUSH_SECONDS


async def test_a_long_deletion_is_not_cut_short_by_retiring(autojump_clock: object) -> None:
    async with faulty_engine(sizes=Sizes(idle=1)) as (engine, storage):
        await engine.wait((await engine.submit(NewTask("q", URL))).id)
        storage.before_commit = taking(10)
        await engine.queues.delete("q")
        with pytest.raises(NotFoundError):
            await engine.queues.get("q")


async def test_waiting_for_a_task_ends_when_it_is_deleted_or_the_engine_closes() -> None:
    ends: list[type[Exception]] = []

    async def wait(engine: Engine, task_id: str) -> None:
        try:
            await engine.wait(task_id)
        except (NotFoundError, DrainingError) as error:
            ends.append(type(error))

    async with trio.open_nursery() as nursery, open_engine(runner=succeed) as engine:
        one = await engine.submit(NewTask("q", URL, delay=60))
        two = await engine.submit(NewTask("q", URL, delay=60))
        nursery.start_soon(wait, engine, one.id)
        nursery.start_soon(wait, engine, two.id)
        await settled()
        await engine.delete(one.id)
        await settled()
        assert ends == [NotFoundError]
    assert ends == [NotFoundError, DrainingError]
    for late in (engine.keys.create("late"), engine.submit(NewTask("q", URL))):
        with pytest.raises(DrainingError):
            await late


async def test_callers_are_answered_when_the_engine_is_cancelled() -> None:
    stuck, answers = trio.Event(), list[type[Exception]]()
    engines: list[Engine] = []

    async def live(scope: trio.CancelScope) -> None:
        with scope:
            async with faulty_engine() as (engine, storage):
                await engine.wait((await engine.submit(NewTask("q", URL))).id)
                storage.before_commit = lambda units: stuck.wait()
                engines.append(engine)
                await trio.sleep_forever()

    async def submit() -> None:
        try:
            await engines[0].submit(NewTask("q", URL))
        except UnavailableError as error:
            answers.append(type(error))

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(live, scope)
        await settled()
        for _ in range(3):
            nursery.start_soon(submit)
            await settled()
        scope.cancel()
    assert len(answers) == 3


async def test_an_error_in_the_block_keeps_what_is_known(autojump_clock: object) -> None:
    go, ran = trio.Event(), trio.Event()

    async def runner(delivery: Delivery) -> Outcome:
        await go.wait()
        ran.set()
        return Outcome.success()

    async def live(storage: Storage) -> None:
        faulty = Faulty(storage)
        async with open_engine(faulty, runner=runner) as engine:
            await engine.submit(NewTask("q", URL))
            await settled()
            faulty.before_commit = taking(0.5)
            go.set()
            await ran.wait()
            raise KeyError("mine")

    async with open_storage("memory:") as storage:
        with pytest.raises(KeyError):
            await live(storage)
        (task,) = (await storage.list_tasks(TaskFilter(), limit=1)).tasks
        assert task.status is Status.COMPLETED


async def test_who_asks_while_a_cancelled_engine_ends_is_answered() -> None:
    engines: list[Engine] = []
    answers: list[type[Exception]] = []
    opened, ended = trio.Event(), trio.Event()

    async def live(scope: trio.CancelScope) -> None:
        with scope:
            async with open_engine(runner=succeed) as engine:
                await engine.wait((await engine.submit(NewTask("q", URL))).id)
                engines.append(engine)
                opened.set()
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):  # an app that takes its time to clean up
                        await ended.wait()

    async def ask(queue: str) -> None:
        try:
            await engines[0].submit(NewTask(queue, URL))
        except UnavailableError as error:
            answers.append(type(error))

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(live, scope)
        await opened.wait()
        scope.cancel()
        async with trio.open_nursery() as asking:
            for _ in range(3):
                await settled()
                asking.start_soon(ask, "q")
                asking.start_soon(ask, "other")
        ended.set()
    assert answers == [DrainingError] * 6
    assert engines[0].statistics().intake_bytes == 0


async def test_waiting_after_the_end_is_not_for_ever() -> None:
    async with open_storage("memory:") as storage:
        async with open_engine(storage, runner=succeed) as engine:
            task = await engine.submit(NewTask("q", URL, delay=60))
        with trio.fail_after(5), pytest.raises(DrainingError):
            await engine.wait(task.id)


async def test_a_policy_change_racing_a_deletion_leaves_memory_and_storage_alike(
    autojump_clock: object,
) -> None:
    async def change(engine: Engine, after: float) -> None:
        await trio.sleep(after)
        for _ in range(6):
            with suppress(NotFoundError, UnavailableError):
                await engine.queues.update("q", concurrency=3)

    for _ in range(30):  # Trio shuffles who goes first
        async with faulty_engine() as (engine, storage):
            await engine.queues.create("q")
            storage.before_commit = taking(0.01)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.queues.delete, "q")
                for number in range(6):
                    nursery.start_soon(change, engine, number * 0.004)
            await engine.wait((await engine.submit(NewTask("q", URL))).id)


async def test_a_supervisor_retires_after_a_long_deletion(autojump_clock: object) -> None:
    async with faulty_engine(sizes=Sizes(idle=1)) as (engine, storage):
        await engine.queues.create("q")
        storage.before_commit = taking(10)
        await engine.queues.delete("q")
        await trio.sleep(60)
        assert engine.statistics().supervisors == 0


async def test_what_cannot_be_meant_is_said_at_once() -> None:
    for wrong in ({"max_attempts": 0}, {"allow": "10.0.0.0/8"}, {"runner": 5}, {"storage": "mysql:"}):
        with pytest.raises((ValueError, TypeError, ValidationError)):
            async with open_engine(**wrong):
                raise AssertionError("opened")
    async with open_engine(runner=succeed) as engine:
        with pytest.raises(ValueError, match="limit"):
            await engine.list(limit=0)


async def test_two_engines_in_one_process_do_not_know_of_each_other() -> None:
    async with open_engine(runner=succeed) as one, open_engine(runner=succeed) as two:
        task = await one.submit(NewTask("q", URL))
        await one.wait(task.id)
        with pytest.raises(NotFoundError):
            await two.get(task.id)
        assert (await two.list()).total == 0


async def test_the_signing_secret_is_made_once_and_kept() -> None:
    async with open_storage("memory:") as storage:
        async with open_engine(storage, runner=succeed) as engine:
            first = engine.signing_secrets
        async with open_engine(storage, runner=succeed) as engine:
            assert engine.signing_secrets == first
        async with open_engine(storage, runner=succeed, signing_secrets="whsec_" + "A" * 32) as engine:
            assert engine.signing_secrets != first


async def test_a_forbidden_destination_is_refused_when_it_shows() -> None:
    async with open_engine() as engine:
        with pytest.raises(ValidationError) as caught:
            await engine.submit(NewTask("q", "http://127.0.0.1/"))
        assert [error.field for error in caught.value.errors] == ["webhook_url"]


async def test_an_error_in_the_block_is_raised_as_itself() -> None:
    with pytest.raises(KeyError):
        async with open_engine(runner=succeed):
            raise KeyError("mine")
