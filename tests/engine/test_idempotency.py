"""An idempotency key: within a day the same request has the same answer, and is done once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from aq.actors.claims import Answered
from aq.engine import Engine
from aq.errors import ConflictError, NotFoundError, StorageFullError, UnavailableError, ValidationError
from aq.queues import Retry
from aq.storage.memory import MemoryStorage
from aq.storage.sqlite import open_sqlite
from aq.task import Environment, NewTask, Status
from tests.engine.storages import Faulty
from tests.engine.support import (
    GONE,
    SUCCESS,
    URL,
    Mortal,
    Receiver,
    inline,
    settled,
    submit,
    submit_many,
    until_it_dies,
    until_killed,
    up,
    wait_for,
)

A_DAY = 86_400
OTHERS: list[dict[str, Any]] = [
    {"payload": {"n": 2}},
    {"payload": {}},
    {"queue": "other"},
    {"url": "http://receiver.example/2"},
    {"priority": 6},
    {"delay": 1},
    {"expires_in": 9},
    {"max_retries": 0},
    {"headers": {"x-a": "2"}},
    {"method": "PUT"},
    {"tags": ["a"]},
    {"ordering_key": "k"},
    {"callback_url": URL},
    {"run_at": "2026-01-01T00:00:00Z"},
]


async def test_the_same_request_again_is_the_same_task(autojump_clock: object) -> None:
    receiver = Receiver()
    async with up(runner=receiver) as engine:
        new = NewTask("q", URL, {"n": 1}, headers={"X-A": "1"}, idempotency_key="once")
        first = await engine.accept(new)
        await wait_for(engine, [first.value.task])
        again = await engine.accept(NewTask("q", URL, {"n": 1}, headers={"x-a": "1"}, idempotency_key="once"))
        assert again == Answered(first.value, replayed=True)
        assert again.value.task.status is Status.PENDING  # as it was answered
        other = await engine.accept(NewTask("q", URL, {"n": 1}, idempotency_key="twice"))
        assert other.value.task.id != first.value.task.id
        await settled()
    assert len(receiver.seen) == 2


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
async def test_another_request_with_its_key_is_a_conflict(other: dict[str, Any]) -> None:
    async with up() as engine:
        same: dict[str, Any] = {"payload": {"n": 1}, "headers": {"x-a": "1"}, "idempotency_key": "k"}
        first = await submit(engine, **same)
        with pytest.raises(ConflictError):
            await submit(engine, **{**same, **other})
        assert await submit(engine, **same) == first
        assert (await engine.list()).total == 1


async def test_it_outlives_the_task(autojump_clock: object) -> None:
    async with up() as engine:
        deleted = await submit(engine, delay=60, idempotency_key="deleted")
        await engine.delete(deleted.id)
        assert await submit(engine, delay=60, idempotency_key="deleted") == deleted
        await engine.queues.update("q", retention_completed=0)
        swept = await submit(engine, idempotency_key="swept")
        await trio.sleep(60)
        with pytest.raises(NotFoundError):
            await engine.get(swept.id)
        assert await submit(engine, idempotency_key="swept") == swept
        await engine.queues.delete("q")
        assert await submit(engine, idempotency_key="swept") == swept
        assert await engine.queues.list() == []


@pytest.mark.parametrize("kill", [False, True])
async def test_it_outlives_the_process(autojump_clock: object, tmp_path: Path, kill: bool) -> None:
    receiver, path = Receiver(), str(tmp_path / "aq.db")
    life = until_killed if kill else up
    new = NewTask("q", URL, {"n": 1}, idempotency_key="task")
    news = [NewTask("q", URL, {"n": n}) for n in range(3)]
    async with open_sqlite(path, hop=inline) as storage, life(storage, receiver) as engine:
        task = await engine.accept(new)
        tasks = await engine.submit_all(news, idempotency_key="tasks")
        queue = await engine.queues.make("made", concurrency=7, idempotency_key="queue")
        await settled()
    async with open_sqlite(path, hop=inline) as storage, up(storage, receiver) as engine:
        assert await engine.accept(new) == Answered(task.value, replayed=True)
        again = await engine.submit_all(news, idempotency_key="tasks")
        assert again == Answered(tasks.value, replayed=True)
        made = await engine.queues.make("made", concurrency=7, idempotency_key="queue")
        assert made == Answered(queue.value, replayed=True)
        for key in ("tasks", "queue"):
            with pytest.raises(ConflictError):
                await engine.submit(NewTask("q", URL, idempotency_key=key))
        assert (await engine.list()).total == 4


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_in_the_commit_leaves_both_or_none(autojump_clock: object, after: bool) -> None:
    memory = MemoryStorage()
    async with up(memory) as engine:
        await engine.queues.create("q", paused=True)
    mortal = Mortal(memory, after=after)
    mortal.dies_on = lambda units: any(len(unit) > 1 for unit in units)
    await until_it_dies(mortal, None, lambda engine: submit(engine, idempotency_key="k"))
    async with up(memory) as engine:
        assert (await engine.list()).total == int(after)
        answer = await engine.accept(NewTask("q", URL, idempotency_key="k"))
        assert answer.replayed is after
        assert (await engine.list()).total == 1


async def test_a_day_and_no_longer(autojump_clock: object) -> None:
    async with up() as engine:
        first = await submit(engine, idempotency_key="k")
        await trio.sleep_until(A_DAY - 0.001)
        assert await submit(engine, idempotency_key="k") == first
        await trio.sleep_until(A_DAY)
        second = await submit(engine, payload={"n": 2}, idempotency_key="k")
        assert second.id != first.id
        await trio.sleep(A_DAY - 1)
        assert await submit(engine, payload={"n": 2}, idempotency_key="k") == second


async def test_environments_have_keys_of_their_own() -> None:
    async with up() as engine:
        live = await submit(engine, idempotency_key="k")
        boxed = await submit(engine, environment=Environment.TEST, payload={"n": 2}, idempotency_key="k")
        assert boxed.id != live.id
        again = await submit(engine, environment=Environment.TEST, payload={"n": 2}, idempotency_key="k")
        assert again == boxed


# -- twins --------------------------------------------------------------------------------------------------
async def twins(
    ask: Callable[[], Awaitable[Answered[Any]]], ticks: int, number: int = 2
) -> list[Answered[Any]]:
    """The same request, begun so many of Trio's ticks after each other."""
    answers: list[Answered[Any]] = []

    async def one(wait: int) -> None:
        for _ in range(wait):
            await trio.lowlevel.checkpoint()
        answers.append(await ask())

    async with trio.open_nursery() as nursery:
        for place in range(number):
            nursery.start_soon(one, place * ticks)
    return answers


def assert_once(answers: list[Answered[Any]]) -> None:
    assert sorted(answer.replayed for answer in answers) == [False, *[True] * (len(answers) - 1)]
    assert all(answer.value == answers[0].value for answer in answers)


TICKS = [*range(10)] * 3


@pytest.mark.parametrize("warm", [False, True])
async def test_twins_make_one_task(autojump_clock: object, warm: bool) -> None:
    for ticks in TICKS:
        receiver = Receiver()
        async with up(runner=receiver) as engine:
            if warm:
                await engine.queues.create("q")
            assert_once(await twins(lambda: engine.accept(NewTask("q", URL, idempotency_key="k")), ticks, 5))
            assert (await engine.list()).total == 1
            await settled()
        assert len(receiver.seen) == 1


async def test_twins_in_two_queues_make_one_task(autojump_clock: object) -> None:
    for ticks in TICKS:
        refused = 0
        async with up() as engine:

            async def one(queue: str, wait: int, engine: Engine = engine) -> None:
                nonlocal refused
                for _ in range(wait):
                    await trio.lowlevel.checkpoint()
                try:
                    await submit(engine, queue, idempotency_key="k")
                except ConflictError:
                    refused += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(one, "a", 0)
                nursery.start_soon(one, "b", ticks)
            assert ((await engine.list()).total, refused) == (1, 1)


async def test_twin_batches_make_one(autojump_clock: object) -> None:
    news = [NewTask(queue, URL) for queue in "aba"]
    for ticks in TICKS:
        async with up() as engine:
            assert_once(await twins(lambda: engine.submit_all(news, idempotency_key="k"), ticks, 3))
            assert (await engine.list()).total == 3


async def test_twin_queues_are_one(autojump_clock: object) -> None:
    for ticks in TICKS:
        async with up() as engine:
            assert_once(
                await twins(lambda: engine.queues.make("q", concurrency=3, idempotency_key="k"), ticks, 3)
            )
            with pytest.raises(ConflictError):
                await engine.queues.make("q", concurrency=3, idempotency_key="other")


async def test_twin_retries_are_one(autojump_clock: object) -> None:
    for ticks in TICKS:
        receiver = Receiver(lambda delivery: GONE)
        async with up(runner=receiver) as engine:
            task = await submit(engine)
            await wait_for(engine, [task])
            assert_once(await twins(lambda: engine.retry(task.id, idempotency_key="k"), ticks, 3))  # noqa: B023
            await wait_for(engine, [task])
            again = await engine.retry(task.id, idempotency_key="k")
            assert again.replayed
            with pytest.raises(ConflictError):
                await engine.retry("task_" + "0" * 26, idempotency_key="k")
        assert len(receiver.seen) == 2


async def test_twin_bulk_retries_are_one(autojump_clock: object) -> None:
    for ticks in TICKS[:12]:
        receiver = Receiver(lambda delivery: GONE)
        async with up(runner=receiver) as engine:
            tasks = await submit_many(engine, 120)
            await wait_for(engine, tasks)
            receiver.answer = lambda delivery: SUCCESS
            ask = lambda: engine.queues.retry("q", Retry(limit=110), idempotency_key="k")  # noqa: E731
            answers = await twins(ask, ticks, 3)
            assert_once(answers)
            assert answers[0].value == 110
            await trio.sleep(1)
            assert len(receiver.seen) == 230
            with pytest.raises(ConflictError):
                await engine.queues.retry("q", Retry(limit=111), idempotency_key="k")


# -- what is not kept ---------------------------------------------------------------------------------------
async def test_a_request_that_failed_takes_no_key(autojump_clock: object) -> None:
    storage = Faulty(MemoryStorage())
    async with up(storage) as engine:
        await engine.queues.create("q")
        failures: list[Exception] = [StorageFullError("no space left on the device")]

        def fail(units: object) -> None:
            if failures:
                raise failures.pop()

        storage.before_commit = fail
        with pytest.raises(UnavailableError):
            await submit(engine, idempotency_key="k")
        await trio.sleep(1)
        with pytest.raises(ValidationError):
            await submit(engine, delay=2, expires_in=1, idempotency_key="k")
        with pytest.raises(ConflictError):
            await engine.queues.make("q", idempotency_key="k")
        await submit(engine, payload={"n": 2}, idempotency_key="k")


async def test_a_secret_is_part_of_the_request() -> None:
    async with up() as engine:
        await engine.queues.make("q", signing_secrets=["whsec_" + "A" * 32], idempotency_key="k")
        with pytest.raises(ConflictError, match="key"):
            await engine.queues.make("q", signing_secrets=["whsec_" + "B" * 32], idempotency_key="k")


async def test_a_wrong_key_is_refused() -> None:
    async with up() as engine:
        for ask in (
            lambda: engine.submit_all([NewTask("q", URL)], idempotency_key="é"),
            lambda: engine.queues.make("q", idempotency_key=""),
            lambda: engine.queues.retry("q", idempotency_key="x" * 256),
        ):
            with pytest.raises((ValidationError, NotFoundError)):
                await ask()
