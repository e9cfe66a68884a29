"""A hundred receivers that never let go, and the tasks of everybody else: over real sockets, in virtual time.

Time moves only when nothing else can happen. So what takes no time waited for nobody's deadline.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from aq.engine import Engine
from aq.opening import open_engine
from aq.outcome import ErrorType
from aq.task import Status, Task
from tests.delivery.receiver import OK, Peer, Receiver, Script, answering, hang, serve
from tests.delivery.test_hostile import CHUNKED, drips, never_reads, ok, says
from tests.engine.support import submit, submit_many, wait_for

HOSTILE = 100
HOLDING: Sequence[Script] = [
    never_reads,
    hang,
    says(b"HTTP/1.1 200 OK\r\nContent-Le"),
    says(ok(b"Content-Length: 1073741824", body=b"x" * 1024)),
    drips(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    drips(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    drips(ok(b"Content-Length: 999"), b"x"),
    drips(CHUNKED, b"1\r\nx\r\n"),
]
"""None of them lets go of an attempt before its deadline."""
TIMEOUT = 5
LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0.05)


async def all_held(receivers: Sequence[Receiver]) -> None:
    """Until each of them has a connection."""
    while not all(receiver.connections for receiver in receivers):
        await trio.lowlevel.checkpoint()


async def statuses(engine: Engine, tasks: Sequence[Task]) -> set[Status]:
    return {(await engine.get(task.id)).task.status for task in tasks}


async def on_time(engine: Engine, tasks: Sequence[Task]) -> bool:
    """Whether each was completed at its first attempt, in the very moment in which it was due."""
    views = [await engine.get(task.id) for task in tasks]
    attempts = [attempt for view in views for attempt in view.attempts]
    completed = all(view.task.status is Status.COMPLETED for view in views)
    return completed and len(attempts) == len(tasks) and not any(it.lateness_us for it in attempts)


async def test_other_queues_do_not_feel_them_and_each_costs_one_attempt(
    nursery: trio.Nursery, clock: MockClock
) -> None:
    hostile = [await serve(nursery, HOLDING[number % len(HOLDING)]) for number in range(HOSTILE)]
    healthy = await serve(nursery, answering(OK))
    async with open_engine(allow=LOOPBACK, grace=0) as engine:
        await engine.queues.create("hostile", concurrency=HOSTILE, max_retries=0, timeout=TIMEOUT)
        began = trio.current_time()
        held = [await submit(engine, "hostile", receiver.url) for receiver in hostile]
        await all_held(hostile)
        tasks = await submit_many(engine, 200, "healthy", healthy.url)
        await wait_for(engine, tasks)
        assert trio.current_time() == began
        assert await statuses(engine, held) == {Status.ACTIVE}
        assert await on_time(engine, tasks)
        await wait_for(engine, held)
        assert trio.current_time() == began + TIMEOUT
        views = [await engine.get(task.id) for task in held]
        assert {attempt.error_type for view in views for attempt in view.attempts} == {ErrorType.TIMEOUT}
        assert sum(len(view.attempts) for view in views) == HOSTILE


async def test_other_destinations_of_a_queue_do_not_feel_them_where_each_has_a_limit(
    nursery: trio.Nursery, clock: MockClock
) -> None:
    hostile = [await serve(nursery, script) for script in HOLDING]
    healthy = await serve(nursery, answering(OK))
    async with open_engine(allow=LOOPBACK, grace=0) as engine:
        await engine.queues.create("q", concurrency=20, destination_concurrency=2, timeout=TIMEOUT)
        began = trio.current_time()
        held = [
            await submit(engine, "q", hostile[number % len(hostile)].url, priority=10)
            for number in range(HOSTILE)
        ]
        await all_held(hostile)
        tasks = await submit_many(engine, 200, "q", healthy.url, priority=1)
        await wait_for(engine, tasks)
        assert trio.current_time() == began
        assert await statuses(engine, held) == {Status.ACTIVE, Status.PENDING}
        assert await statuses(engine, tasks) == {Status.COMPLETED}
        assert all(receiver.connections <= 2 for receiver in hostile)


async def test_one_that_answers_before_it_is_asked_completes_no_task_of_another_queue(
    nursery: trio.Nursery, clock: MockClock
) -> None:
    """Queues share connections by destination: an answer that waits on one is nobody's."""
    forge, forged = trio.Event(), trio.Event()

    async def script(peer: Peer) -> None:
        received = await peer.request()
        while received is not None and b'"queue":"first"' in received.body:
            await peer.say(OK)
            await trio.lowlevel.checkpoint()
            await peer.say(OK)
            forged.set()
            received = await peer.request()
        await peer.say(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")

    receiver = await serve(nursery, script)
    async with open_engine(allow=LOOPBACK, grace=0) as engine:
        await wait_for(engine, [await submit(engine, "first", receiver.url)])
        forge.set()
        await forged.wait()
        second = await submit(engine, "second", receiver.url, max_retries=0)
        await wait_for(engine, [second])
        assert await statuses(engine, [second]) == {Status.FAILED}
