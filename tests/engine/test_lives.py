"""Lives of an engine in process: ended at any step and in any way it leaves nothing and loses nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from random import Random

import pytest
import trio
import trio.testing

from aq.actors.attempts import SupervisorError
from aq.actors.services import Sizes
from aq.delivery.protocol import Delivery
from aq.engine import Engine
from aq.errors import QuarantinedError, StorageError
from aq.opening import open_engine
from aq.outcome import Outcome
from aq.storage.memory import MemoryStorage
from aq.storage.protocol import Storage
from aq.storage.sqlite import open_sqlite
from aq.task import NewTask, Status
from tests.engine.storages import Faulty
from tests.engine.support import FAILURE, SUCCESS, URL, Gate, Receiver, inline, submit, up, wait_for


class Steps(trio.abc.Instrument):
    """Cancels ``scope`` after the ``last``-th step that any task of this run makes."""

    def __init__(self, scope: trio.CancelScope, last: int) -> None:
        self.scope = scope
        self.left = last

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


def belongings() -> tuple[int, list[str]]:
    """Open files and threads of this process; Trio keeps idle workers, which are nobody's."""
    threads = [thread.name for thread in threading.enumerate() if not thread.name.startswith("Trio")]
    return len(os.listdir("/proc/self/fd")), sorted(threads)


@asynccontextmanager
async def store(path: Path | None) -> AsyncIterator[Storage]:
    """Without threads, so that steps are counted alike; None is a memory storage of its own."""
    if path is None:
        yield MemoryStorage()
    else:
        async with open_sqlite(str(path), hop=inline) as storage:
            yield storage


async def life(storage: Storage, receiver: Receiver, made: list[str], done: list[str]) -> None:
    """Opening, recovery, running, draining, closing; of a bit of everything."""
    async with up(storage, receiver, grace=1) as engine:
        made.append((await submit(engine)).id)
        made.append((await submit(engine, delay=1, ordering_key="k")).id)
        made.append((await submit(engine, "r")).id)
        receipts = (await engine.submit_all([NewTask("r", URL, ordering_key="k", delay=2)] * 3)).value
        made += [receipt.task.id for receipt in receipts]
        gone = await submit(engine, delay=9)
        await engine.delete(gone.id)
        done.append(gone.id)
        await trio.sleep(1.2)


async def cut(path: Path | None, last: int) -> bool:
    """A life that is cancelled after so many steps, and the next. Whether it had come to its end before."""
    receiver, made, deleted = Receiver(takes=0.5), [], []  # type: ignore[var-annotated]
    before = belongings()
    with trio.CancelScope() as scope:
        steps = Steps(scope, last)
        trio.lowlevel.add_instrument(steps)
        try:
            async with store(path) as storage:
                await life(storage, receiver, made, deleted)
        finally:
            trio.lowlevel.remove_instrument(steps)
    assert belongings() == before
    async with store(path) as again:
        survivor = again if path is not None else storage
        assert await survivor.audit() == []
        async with up(survivor, receiver) as engine:
            await trio.sleep(60)
            for task_id in made:
                assert (await engine.get(task_id)).task.status is Status.COMPLETED
            assert not set(deleted) & set(receiver.ids)
        assert await survivor.audit() == []
    return not scope.cancelled_caught


@pytest.mark.parametrize(("kind", "stride"), [("memory", 1), ("file", 4)])
async def test_cancelled_at_any_step_it_leaves_nothing_and_loses_nothing(
    autojump_clock: object, tmp_path: Path, kind: str, stride: int, caplog: pytest.LogCaptureFixture
) -> None:
    last = 1
    while not await cut(tmp_path / f"{last}.db" if kind == "file" else None, last):
        last += stride
    assert last > 100  # it was a life
    assert not caplog.records  # nobody is to blame


class PlantedError(Exception):
    """Of whoever embeds an engine."""


async def cancelled(scope: trio.CancelScope) -> None:
    scope.cancel()
    await trio.lowlevel.checkpoint()


async def left(scope: trio.CancelScope) -> None:
    await trio.lowlevel.checkpoint()


async def raised(scope: trio.CancelScope) -> None:
    raise PlantedError


ends = {"left": left, "timed out": left, "cancelled": cancelled, "raised": raised}


@pytest.mark.parametrize(("kind", "lives"), [("memory", 400), ("file", 60)])
async def test_many_lives_each_ended_in_another_way(
    autojump_clock: object, tmp_path: Path, kind: str, lives: int, caplog: pytest.LogCaptureFixture
) -> None:
    random, made, memory = Random(3), list[str](), MemoryStorage()
    receiver = Receiver(lambda delivery: SUCCESS if delivery.attempt > 1 else FAILURE, takes=0.3)

    def kept() -> AbstractAsyncContextManager[Storage]:
        return nullcontext(memory) if kind == "memory" else open_sqlite(str(tmp_path / "aq.db"), hop=inline)

    before = belongings()
    for _ in range(lives):
        end = random.choice([*ends])
        span = random.choice((0, random.random() / 10, random.random() * 3))
        try:
            with trio.move_on_after(span if end == "timed out" else 1_000) as scope:
                async with kept() as storage, up(storage, receiver, grace=random.random()) as engine:
                    for _ in range(random.randint(0, 4)):
                        made.append((await submit(engine, f"q{random.randint(0, 2)}")).id)
                    await trio.sleep(span)
                    await ends[end](scope)
        except PlantedError:
            assert end == "raised"
    assert belongings() == before
    async with kept() as storage, up(storage, receiver) as engine:
        for task_id in made:
            with trio.fail_after(1_000):
                await engine.wait(task_id)
        assert await storage.audit() == []
    assert len(made) > lives
    assert not caplog.records


async def test_one_engine_within_another_and_one_file_twice(tmp_path: Path) -> None:
    url, receiver = f"sqlite:///{tmp_path}/aq.db", Receiver()
    before = belongings()
    async with open_engine(url, runner=receiver) as outer:
        with pytest.raises(StorageError, match=f"in use by process {os.getpid()}; one process at a time"):
            async with open_engine(url, runner=receiver):
                pass
        async with open_engine(runner=receiver) as inner:
            await wait_for(inner, [await submit(inner)])
        await wait_for(outer, [await submit(outer)])
    async with open_engine(url, runner=receiver) as after:
        await wait_for(after, [await submit(after)])
        assert (await after.queues.get("q")).counts.completed == 2
    assert belongings() == before


async def test_an_opening_that_fails_leaves_nothing(tmp_path: Path) -> None:
    before = belongings()
    (tmp_path / "notes.db").write_text("dear diary\n" * 100)
    for path in ("notes.db", "not/there.db", ""):
        with pytest.raises(StorageError):
            async with open_engine(f"sqlite:///{tmp_path}/{path}"):
                pass
    assert belongings() == before


async def running(engine: Engine) -> int:
    return engine.statistics().attempts_in_flight


async def test_after_the_end_no_attempt_goes_on(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        for _ in range(3):
            await submit(engine)
        await trio.testing.wait_all_tasks_blocked()
        assert len(gate.held) == 3 == await running(engine)
    assert not gate.held
    assert await running(engine) == 0


# -- supervisors that are ended by others -------------------------------------------------------------------
def scope_above(levels: int) -> trio.CancelScope:
    """Of the nursery so many tasks above the one that asks."""
    nursery = trio.lowlevel.current_task().parent_nursery
    for _ in range(levels):
        assert nursery is not None
        nursery = nursery.parent_task.parent_nursery
    assert nursery is not None
    return nursery.cancel_scope


async def cancels_its_supervisor() -> None:
    scope_above(0).cancel()
    await trio.lowlevel.checkpoint()


async def cancels_and_returns() -> None:
    scope_above(0).cancel()


async def raises_a_cancellation_of_another_scope() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            stray = error
    raise stray


@pytest.mark.parametrize(
    "misbehave", [cancels_its_supervisor, cancels_and_returns, raises_a_cancellation_of_another_scope]
)
async def test_a_runner_that_cancels_its_supervisor_stops_no_task(
    misbehave: Callable[[], Awaitable[None]], autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(takes=1)

    async def runner(delivery: Delivery) -> Outcome:
        if delivery.queue.name == "bad" and delivery.attempt == 1:
            await misbehave()
        return await receiver(delivery)

    async with up(runner=runner) as engine:
        other = await submit(engine, "good")
        tasks = [await submit(engine, "bad", delay=delay) for delay in (0, 0, 20)]
        await wait_for(engine, [other, *tasks], 60)
        assert not engine.quarantined
        assert len((await engine.get(other.id)).attempts) == 1
    assert "the supervisor of queue bad crashed" in caplog.text


async def test_a_runner_that_cancels_everything_ends_the_engine_aloud(autojump_clock: object) -> None:
    storage = MemoryStorage()

    async def runner(delivery: Delivery) -> Outcome:
        scope_above(1).cancel()
        return SUCCESS

    async def live() -> None:
        async with up(storage, runner) as engine:
            await engine.wait((await submit(engine)).id)

    with pytest.raises(SupervisorError), trio.fail_after(60):
        await live()
    async with up(storage) as engine:
        await trio.sleep(1)
        assert (await engine.list(status=Status.COMPLETED)).total == 1


async def test_a_quarantined_queue_lives_again_when_it_is_resumed_or_the_service_restarts(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Faulty(MemoryStorage())

    def crash() -> None:
        raise RuntimeError("planted")

    async def quarantined(engine: Engine) -> None:
        storage.before_read = crash
        await trio.sleep(30)
        assert engine.quarantined == ["bad"]
        storage.before_read = lambda: None
        with pytest.raises(QuarantinedError, match="resume it, or restart"):
            await submit(engine, "bad")

    async with up(storage, sizes=Sizes(window=1)) as engine:
        tasks = [await submit(engine, "bad", delay=delay) for delay in (10, 10, 10, 100, 100, 100)]
        await quarantined(engine)
        await engine.queues.resume("bad")
        assert not engine.quarantined
        await wait_for(engine, tasks[:3], 1)
        await submit(engine, "bad")
        await trio.sleep(60)
        await quarantined(engine)
    async with up(storage) as engine:
        await wait_for(engine, tasks, 1)
        assert {len((await engine.get(task.id)).attempts) for task in tasks} == {1}
