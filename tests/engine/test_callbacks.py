"""Callbacks: written with the end, told once for each, delivered like tasks, outside of their queue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from aq.actors.services import Sizes
from aq.delivery.protocol import Delivery
from aq.engine import Engine
from aq.errors import NotFoundError, StorageFullError
from aq.instants import to_rfc3339
from aq.outcome import Outcome
from aq.storage.answers import TaskFilter
from aq.storage.changes import Insert, Start, Unit, Update
from aq.storage.memory import MemoryStorage
from aq.storage.sqlite import open_sqlite
from aq.task import Environment, QueueKey, Status, Task
from tests.engine.storages import Faulty
from tests.engine.support import (
    BACK,
    FAILURE,
    SUCCESS,
    Gate,
    Mortal,
    Receiver,
    busy,
    inline,
    settled,
    submit,
    submit_many,
    until_it_dies,
    until_killed,
    up,
    wait_for,
)

CALLBACKS = TaskFilter(Environment.CALLBACK)


def failing(delivery: Delivery) -> Outcome:
    """Tasks that ask for it fail; callbacks arrive."""
    return FAILURE if delivery.tells_of is None and delivery.json().get("fail") else SUCCESS


async def callbacks(engine: Engine) -> Sequence[Task]:
    """In the order of creation."""
    return (await engine.find(CALLBACKS, limit=1_000)).tasks[::-1]


async def test_each_kind_of_end_is_told_once(autojump_clock: object) -> None:
    receiver = Receiver(failing)
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", max_retries=1, retry_jitter=0)
        good = await submit(engine, callback_url=BACK)
        bad = await submit(engine, payload={"fail": 1}, callback_url=BACK)
        await trio.sleep(5)
        await engine.queues.pause("q")
        late = await submit(engine, callback_url=BACK, expires_in=5)
        await submit(engine, expires_in=5)
        await trio.sleep(10_000)
        told = [(body["event"], body["task"]["id"], body["task"]["failure_reason"]) for body in receiver.told]
        assert told == [
            ("task.completed", good.id, None),
            ("task.failed", bad.id, "exhausted"),
            ("task.failed", late.id, "expired"),
        ]
        kept = await callbacks(engine)
        assert [callback.options.tells_of for callback in kept] == [good.id, bad.id, late.id]
        assert all(callback.id.startswith("cb_") for callback in kept)


async def test_its_body_is_the_task_as_it_is_shown(autojump_clock: object) -> None:
    receiver = Receiver(failing)
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", max_retries=1, retry_jitter=0, timeout=9)
        fields: dict[str, Any] = {
            "headers": {"authorization": "secret"},
            "tags": ["red"],
            "ordering_key": "k",
        }
        task = await submit(engine, payload={"fail": "é"}, callback_url=BACK, **fields)
        await trio.sleep(5)
        view = await engine.get(task.id)
    (body,) = receiver.told
    shown = body["task"]
    assert (body["event"], set(body)) == ("task.failed", {"event", "task"})
    assert (shown["id"], shown["status"], shown["queue"]) == (task.id, "failed", "q")
    assert (shown["payload"], shown["tags"]) == ({"fail": "é"}, ["red"])
    assert (shown["headers"], shown["callback_url"]) == ({"authorization": "***"}, BACK)
    assert (shown["max_retries"], shown["timeout"]) == (1, 9)
    assert [(a["number"], a["status"], a["error"]) for a in shown["attempts"]] == [
        (number, "failure", "no") for number in (1, 2)
    ]
    assert shown["failed_at"] == to_rfc3339(view.task.finished_at or 0)
    assert shown["callback"] == {"id": view.task.callback_id, "status": "pending", "attempts": 0}
    delivery = receiver.seen[-1]
    assert (delivery.tells_of, delivery.webhook_url, delivery.queue.name) == (task.id, BACK, "q")
    assert delivery.task_id == view.task.callback_id


async def test_the_view_shows_how_far_it_is(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", max_retries=1, retry_jitter=0)
        task = await submit(engine, callback_url=BACK)
        await settled()
        assert (await engine.get(task.id)).callback is None
        await gate.end(task)
        callback_id = gate.began[-1]

        async def shown() -> tuple[str, Status, int] | None:
            callback = (await engine.get(task.id)).callback
            return None if callback is None else (callback.id, callback.status, callback.attempt)

        assert await shown() == (callback_id, Status.ACTIVE, 1)
        await gate.end(callback_id, FAILURE)
        assert await shown() == (callback_id, Status.PENDING, 1)
        await trio.sleep(1.5)
        await gate.end(callback_id, FAILURE)
        assert await shown() == (callback_id, Status.FAILED, 2)
        await trio.sleep(1_000)
        assert gate.held == {}  # a callback's end is told to nobody
        with pytest.raises(NotFoundError):
            await engine.get(callback_id)


async def test_it_is_retried_by_the_policy_of_its_queue(autojump_clock: object) -> None:
    storage, receiver = MemoryStorage(), Receiver(lambda d: SUCCESS if d.tells_of is None else FAILURE)
    policy: dict[str, Any] = {
        "max_retries": 3,
        "retry_backoff": "fixed",
        "retry_delay": 10,
        "retry_jitter": 0,
        "timeout": 7,
    }
    secrets = ["whsec_" + "A" * 32]
    async with until_killed(storage, receiver) as engine:
        await engine.queues.create("q", **policy, signing_secrets=secrets)
        await submit(engine, callback_url=BACK)
        await trio.sleep(12)
    async with up(storage, receiver) as engine:
        await trio.sleep_until(21)
        await engine.queues.update("q", retry_delay=30)
        await trio.sleep(1_000)
    told = [d for d in receiver.seen if d.tells_of is not None]
    assert [d.attempt for d in told] == [1, 2, 3, 4]
    assert receiver.at(told[0].task_id) == [0, 10, 20, 30]  # the last wait was decided at 20
    assert {d.timeout for d in told} == {7}
    assert {d.signing_secrets for d in told} == {tuple(secrets)}


async def test_callbacks_have_no_callbacks(autojump_clock: object) -> None:
    storage = MemoryStorage()
    async with up(storage) as engine:
        await submit_many(engine, 20, callback_url=BACK)
        await trio.sleep(1_000)
        assert len(await callbacks(engine)) == 20
        queues = await storage.queues()
        assert [str(queue.key) for queue in queues] == ["callback:q", "q"]


async def test_they_go_outside_of_the_order_the_limits_and_the_pause_of_their_queue(
    autojump_clock: object,
) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create(
            "q",
            concurrency=1,
            destination_concurrency=1,
            rate_limit={"per_second": 0.001, "burst": 5},
        )
        await trio.sleep_until(10_000)
        first = await submit(engine, url=BACK, callback_url=BACK)
        second = await submit(engine, url=BACK, priority=10, callback_url=BACK)
        await settled()
        await gate.end(first)
        await engine.queues.pause("q")
        await gate.end(second)
        assert len(gate.held) == 2  # two callbacks at one destination while the queue is paused
        counts = (await engine.queues.get("q")).counts
        assert (counts.pending, counts.active, counts.completed) == (0, 0, 2)
        assert (await engine.list()).total == 2
        assert [queue.key.name for queue in await engine.queues.list()] == ["q"]
        now = engine.clock.now()
        assert engine.meter.rates(QueueKey(Environment.CALLBACK, "q"), now).started == 0
        for callback_id in list(gate.held):
            await gate.end(callback_id)


async def test_a_receiver_that_asks_for_a_pause_holds_them_too(autojump_clock: object) -> None:
    receiver = Receiver()
    receiver.answer = lambda delivery: busy(30) if trio.current_time() < 10 else SUCCESS
    async with up(runner=receiver) as engine:
        await submit(engine, "other", BACK)
        await settled()
        await submit(engine, url="http://fine.example/", callback_url=BACK)
        receiver.answer = lambda delivery: SUCCESS
        await trio.sleep(29)
        assert receiver.told == []
        await trio.sleep(2)
        assert len(receiver.told) == 1


# -- durability ---------------------------------------------------------------------------------------------
def ends(units: Sequence[Unit]) -> bool:
    return any(isinstance(c, Update) and c.task.status.final for unit in units for c in unit)


@pytest.mark.parametrize("after", [False, True])
async def test_the_end_and_its_callback_are_one(autojump_clock: object, after: bool) -> None:
    memory = MemoryStorage()
    mortal = Mortal(memory, after=after)
    mortal.dies_on = ends
    await until_it_dies(mortal, None, lambda engine: submit(engine, callback_url=BACK))
    (task,) = (await memory.list_tasks(TaskFilter(), limit=9)).tasks
    assert task.status is (Status.COMPLETED if after else Status.ACTIVE)
    assert await memory.count_tasks(CALLBACKS) == int(after)
    receiver = Receiver()
    async with up(memory, receiver) as engine:
        await trio.sleep(100)
        statuses = [a.status for a in (await engine.get(task.id)).attempts]
    assert statuses == (["success"] if after else ["unknown", "success"])
    assert [body["task"]["id"] for body in receiver.told] == [task.id]
    assert [a["status"] for a in receiver.told[0]["task"]["attempts"]] == statuses


async def test_an_interrupted_callback_is_told_again(autojump_clock: object, tmp_path: Path) -> None:
    gate, receiver, path = Gate(), Receiver(), str(tmp_path / "aq.db")
    async with open_sqlite(path, hop=inline) as storage, until_killed(storage, gate) as engine:
        task = await submit(engine, callback_url=BACK)
        await settled()
        await gate.end(task)
        assert len(gate.held) == 1
    async with open_sqlite(path, hop=inline) as storage, up(storage, receiver) as engine:
        await settled()
        (body,) = receiver.told
        assert body["task"]["id"] == task.id
        assert receiver.seen[0].attempt == 2
        assert await storage.audit() == []


async def test_a_full_disk_loses_neither_the_end_nor_its_callback(autojump_clock: object) -> None:
    storage, gate = Faulty(MemoryStorage()), Gate()
    full = False

    def no_space(units: Sequence[Unit]) -> None:
        if full:
            raise StorageFullError("no space left on the device")

    storage.before_commit = no_space
    async with up(storage, gate) as engine:
        task = await submit(engine, callback_url=BACK)  # the first one of its queue
        await settled()
        full = True
        await gate.end(task)
        await trio.sleep(5)
        full = False
        await trio.sleep(5)
        view = await engine.get(task.id)
        assert [a.status for a in view.attempts] == ["success"]
        assert len(gate.held) == 1
        await gate.end(gate.began[-1])


async def test_a_sandbox_queue_that_is_deleted_takes_no_callbacks_with_it(autojump_clock: object) -> None:
    receiver = Receiver()
    async with up(runner=receiver) as engine:
        await engine.queues.create("q", retention_completed=0)
        await engine.queues.create("q", environment=Environment.TEST)
        await submit(engine, callback_url=BACK)
        await submit(engine, delay=900)  # its supervisor stays
        await trio.sleep(2 * Sizes().tidied + 1)  # swept, and the callback with it
        assert await callbacks(engine) == []
        await engine.queues.delete("q", environment=Environment.TEST)
        task = await submit(engine, callback_url=BACK)
        await settled()
        statuses = [a.status for a in (await engine.get(task.id)).attempts]
    assert (statuses, len(receiver.told)) == (["success"], 2)


async def test_a_queue_that_is_deleted_and_made_again_tells_again(autojump_clock: object) -> None:
    receiver = Receiver()
    async with up(runner=receiver) as engine:
        for rounds in (1, 2):
            await submit(engine, callback_url=BACK)
            await settled()
            assert len(receiver.told) == rounds
            await engine.queues.delete("q")


# -- what happens meanwhile ---------------------------------------------------------------------------------
async def test_the_body_shows_the_end_it_tells_of_whatever_happened_since(autojump_clock: object) -> None:
    """The task was retried, and ended otherwise, before its first end could be told."""
    storage = MemoryStorage()
    receiver = Receiver(failing)
    tells = False

    def answer(delivery: Delivery) -> Outcome:
        if delivery.tells_of is not None:
            return SUCCESS if tells else FAILURE
        return SUCCESS if delivery.attempt == 3 else FAILURE

    receiver.answer = answer
    async with up(storage, receiver) as engine:
        await engine.queues.create("q", max_retries=1, retry_jitter=0, retry_delay=10)
        task = await submit(engine, payload={"n": 1}, callback_url=BACK)
        await trio.sleep(11)
        await engine.retry(task.id)
        await settled()
        assert (await engine.get(task.id)).task.status is Status.COMPLETED
        tells = True
        receiver.seen.clear()
        await trio.sleep(100)
    first, second = sorted(receiver.told, key=lambda body: len(body["task"]["attempts"]))
    assert (first["event"], first["task"]["status"], len(first["task"]["attempts"])) == (
        "task.failed",
        "failed",
        2,
    )
    assert (second["event"], len(second["task"]["attempts"])) == ("task.completed", 3)
    assert first["task"]["payload"] == second["task"]["payload"] == {"n": 1}
    assert len({d.task_id for d in receiver.seen}) == 2


async def test_a_task_that_is_gone_is_told_of_without_what_is_gone(autojump_clock: object) -> None:
    receiver = Receiver()
    receiver.answer = lambda d: FAILURE if d.tells_of is not None and trio.current_time() < 60 else SUCCESS
    async with up(runner=receiver) as engine:
        await engine.queues.create(
            "q", retention_completed=0, retry_delay=70, retry_delay_max=70, retry_jitter=0
        )
        task = await submit(engine, payload={"n": 1}, callback_url=BACK, tags=["red"])
        await trio.sleep(65)
        with pytest.raises(NotFoundError):
            await engine.get(task.id)
        await trio.sleep(10)
    body = receiver.told[-1]
    assert (body["event"], body["task"]["id"], body["task"]["tags"]) == ("task.completed", task.id, ["red"])
    assert (body["task"]["payload"], body["task"]["attempts"]) == (None, [])


async def test_deleted_and_purged_tasks_have_no_end_to_tell_of(autojump_clock: object) -> None:
    storage, receiver = Faulty(MemoryStorage()), Receiver()
    async with up(storage, receiver) as engine:
        tasks = await submit_many(engine, 3, delay=60, callback_url=BACK)
        await engine.delete(tasks[0].id)
        await engine.queues.purge("q")
        await trio.sleep(100)
    inserts = [c for units in storage.committed for unit in units for c in unit if isinstance(c, Insert)]
    assert (receiver.seen, len(inserts)) == ([], 3)


async def test_one_after_another_crash_each_end_is_told(autojump_clock: object) -> None:
    """However often the process dies: as many callbacks as ends, each delivered at least once."""
    memory, receiver = MemoryStorage(), Receiver(failing, takes=0.1)
    async with until_killed(memory) as engine:
        await engine.queues.create("q", max_retries=0, concurrency=3)
        tasks = await submit_many(engine, 8, callback_url=BACK)
        tasks += await submit_many(engine, 8, payload={"fail": 1}, callback_url=BACK)
    for life in range(8):
        mortal = Mortal(memory, dies_at=2 + life, after=life % 2 == 0)
        await until_it_dies(mortal, receiver, lambda engine: settled())
    async with up(memory, receiver) as engine:
        await wait_for(engine, tasks)
        await trio.sleep(10)
        kept = await callbacks(engine)
    assert sorted(callback.options.tells_of or "" for callback in kept) == [task.id for task in tasks]
    assert {body["task"]["id"] for body in receiver.told} == {task.id for task in tasks}
    assert await memory.audit() == []


async def test_what_came_while_a_queue_recovered_takes_its_place_in_the_order(autojump_clock: object) -> None:
    storage = Faulty(MemoryStorage())
    receiver = Receiver(
        lambda delivery: FAILURE if trio.current_time() < 50 and delivery.tells_of else SUCCESS
    )
    slow = [5.0]

    async def slowly() -> None:
        if slow:
            await trio.sleep(slow.pop())

    async with up(storage, receiver) as engine:
        await engine.queues.create("q", retry_delay=100, retry_backoff="fixed", retry_jitter=0)
        await submit(engine, callback_url=BACK)
        await trio.sleep_until(98)
    storage.after_window = slowly
    async with up(storage, receiver) as engine:
        await settled()
        await submit(engine, callback_url=BACK)
        await trio.sleep_until(110)
        starts = [
            change.id
            for units in storage.committed
            for unit in units
            for change in unit
            if isinstance(change, Start) and change.queue.environment is Environment.CALLBACK
        ]
        first, second = [task.id for task in await callbacks(engine)]
        assert starts == [first, second, first]
