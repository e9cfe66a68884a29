"""Rule 2, as far as it can be seen without a power cut: what is known when it is opened again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve

from aq.ids import sequence_of
from aq.outcome import ErrorType
from aq.policy import QueuePolicy, RateLimit
from aq.storage.answers import Applied, Claimed, Reason, Refused
from aq.storage.changes import (
    DropSchedule,
    Forget,
    Insert,
    PutKey,
    PutQueue,
    PutSchedule,
    PutSetting,
    Start,
    Sweep,
)
from aq.storage.conformance.bench import MAIL, MINUTE, NOW, SANDBOX, SECOND, Bench, Case, Factory, expect
from aq.storage.conformance.claims import CLAIM, KEY, LIVE, PLAIN_KEY, PLAIN_SCHEDULE, SCHEDULE
from aq.storage.protocol import Storage
from aq.task import Clearing, Counts, FailureReason, Method, Options, Queue, Revival, Status, Task

EVERY_OPTION: Final = Options(
    method=Method.PATCH,
    headers=(("x-a", "1, 2"), ("x-b", "")),
    run_at=NOW - 1,
    expires_in=60,
    callback_url="https://example.com/done?x=%20",
    tags=("a", 'ü, "b"'),
    schedule_id="schedule_1",
    slot=NOW - 2,
    tells_of="task_other",
    tracestate="a=1,b@c=2",
)


async def what_is_committed_outlives_the_opening(factory: Factory) -> None:
    """Rule 2, of tasks, queues and the floor."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        waiting, running = await bench.put(bench.task(), bench.task())
        await bench.commit([Start(MAIL, running.id, 1, NOW + 5)], [PutSetting("secret", "s")], now=NOW + 5)
        before = await storage.queues(), await bench.stored(waiting), await bench.stored(running)
    async with factory() as storage:
        bench = Bench(storage)
        after = await storage.queues(), await bench.stored(waiting), await bench.stored(running)
        expect(2, after, before)
        expect(2, await storage.settings(), {"secret": "s"})
        floor = await storage.floor()
        expect(14, (floor.now, floor.sequence), (NOW + 5, sequence_of(running.id)))
        await bench.refused(5, Reason.EXISTS, Insert(running, b"{}"))
        await bench.refused(8, Reason.EXISTS, PutQueue(Queue(MAIL, QueuePolicy(), NOW)))


async def options_outlive_the_opening(factory: Factory) -> None:
    """Rule 2, of all that a task can be asked for, alone and together."""
    fields: list[dict[str, Any]] = [
        {"options": EVERY_OPTION},
        {"options": Options(tags=("a",)), "ordering_key": "ü \U0001f600"},
        {"options": Options(method=Method.GET)},
        {"options": Options(run_at=0, expires_in=1, slot=0)},
        {"expires_at": NOW + SECOND, "callback_id": "task_some"},
        {
            "status": Status.FAILED,
            "finished_at": NOW,
            "failure_reason": FailureReason.EXPIRED,
            "error_type": ErrorType.EXPIRED,
        },
    ]
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        tasks = await bench.put(*[bench.task(**one) for one in fields])
        for task in tasks:
            expect(2, (await bench.stored(task)).task, task)
    async with factory() as storage:
        bench = Bench(storage)
        for task in tasks:
            expect(2, (await bench.stored(task)).task, task)
        (started, payload), *_ = await _started(bench, tasks[0])
        expect(2, (started.options, started.traceparent, payload), (EVERY_OPTION, None, b"{}"))


async def _started(bench: Bench, task: Task) -> Sequence[tuple[Task, bytes]]:
    (answer,) = await bench.commit([Start(MAIL, task.id, 1, NOW)])
    return getattr(answer, "started", ())


async def who_is_held_back_outlives_the_opening(factory: Factory) -> None:
    """Rules 2 and 16."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        head, held = await bench.put(bench.task(ordering_key="k"), bench.task(ordering_key="k"))
    async with factory() as storage:
        bench = Bench(storage)
        expect(16, [one.id for one in (await storage.window(MAIL, NOW, 5)).due], [head.id])
        expect(16, await storage.head_of(MAIL, "k"), head.id)
        await bench.refused(16, Reason.STATE, Start(MAIL, held.id, 1, NOW))
        expect(19, list(await storage.audit()), [])


async def queues_outlive_the_opening(factory: Factory) -> None:
    """Rule 2, of policies, of a purge and a retry under way, and of what the counters say."""
    policy = QueuePolicy(
        destination_concurrency=3,
        rate_limit=RateLimit(0.5, 7),
        retention_completed=0,
        retention_failed=1.5,
        retention_max_tasks=9,
        signing_secrets=("whsec_" + "A" * 32, "whsec_" + "B" * 32),
    )
    revival = Revival(
        failed_by=NOW,
        tag="ü",
        error_type=ErrorType.DNS,
        destination="https://example.com",
        failed_after=NOW - 9,
        failed_before=NOW - 1,
        remaining=5,
    )
    clearing = Clearing((1 << 62) + 1, ("task_one", "task_two"))
    full = Queue(MAIL, policy, NOW, version=2, clearing=clearing, revival=revival)
    plain = Queue(SANDBOX, QueuePolicy(), NOW, revival=Revival(failed_by=0))
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        await bench.put(bench.task(due_at=NOW + 5 * MINUTE), bench.task(due_at=NOW + MINUTE))
        await bench.commit([PutQueue(full)], [PutQueue(plain)])
        before = await storage.queues(), await storage.backlogs(LIVE, NOW)
        expect(8, list(before[0]), [evolve(full, counts=Counts(pending=2)), plain])
    async with factory() as storage:
        bench = Bench(storage)
        expect(2, (await storage.queues(), await storage.backlogs(LIVE, NOW)), before)
        await bench.refused(5, Reason.STATE, Insert(bench.task(created_at=NOW + SECOND), b"{}"))
        await bench.refused(9, Reason.STATE, Sweep(MAIL, 9, rule=(MAIL, QueuePolicy().retention)))
        expect(9, list(await bench.commit([Sweep(MAIL, 9, rule=(MAIL, policy.retention))])), [Applied()])
        expect(19, list(await storage.audit()), [])


async def claims_schedules_and_keys_outlive_the_opening(factory: Factory) -> None:
    """Rules 2, 17 and 18."""
    gone = evolve(CLAIM, name="gone", expires_at=NOW)
    async with factory() as storage:
        bench = Bench(storage)
        await bench.commit(
            [CLAIM, gone, PutKey(KEY), PutKey(PLAIN_KEY), PutSchedule(SCHEDULE), PutSchedule(PLAIN_SCHEDULE)]
        )
        before = await _beside_tasks(storage)
    async with factory() as storage:
        bench = Bench(storage)
        expect(2, await _beside_tasks(storage), before)
        expect(17, await storage.claim(LIVE, CLAIM.name, NOW), Claimed(CLAIM.fingerprint, CLAIM.answer))
        await bench.refused(17, Reason.EXISTS, CLAIM)
        await bench.refused(18, Reason.EXISTS, PutSchedule(SCHEDULE))
        drop = DropSchedule(SCHEDULE.id)
        answers = await bench.commit([Forget(NOW, 9), gone], [drop], [drop])
        expect(17, list(answers), [Applied(count=1), Applied(), Refused(Reason.MISSING)])


async def _beside_tasks(storage: Storage) -> tuple[Sequence[object], Sequence[object]]:
    schedules, keys = list(await storage.schedules()), list(await storage.api_keys())
    expect(18, (schedules, keys), ([PLAIN_SCHEDULE, SCHEDULE], [PLAIN_KEY, KEY]))
    return schedules, keys


DURABLE_CASES: Final[Sequence[Case]] = (
    what_is_committed_outlives_the_opening,
    options_outlive_the_opening,
    who_is_held_back_outlives_the_opening,
    queues_outlive_the_opening,
    claims_schedules_and_keys_outlive_the_opening,
)
