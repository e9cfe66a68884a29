"""A month in the life of a service, in a few seconds: every slot, every retry, every limit in time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio

from aq.actors.services import Sizes
from aq.delivery.protocol import Delivery
from aq.instants import SECOND
from aq.outcome import Outcome
from aq.storage.memory import MemoryStorage
from tests.engine.support import BACK, FAILURE, SUCCESS, Receiver, submit, until_killed, up

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 10, 10, tzinfo=BERLIN).timestamp()
"""Two weeks before the clocks are put back, at midnight."""
HOUR, A_DAY = 3_600, 86_400
MONTH = 30 * A_DAY


def wall() -> float:
    return START + trio.current_time()


def judge(delivery: Delivery) -> Outcome:
    """Those of the queue ``hard`` succeed at the tenth attempt; ``never`` never."""
    if delivery.tells_of is not None:
        return SUCCESS
    needed = {"hard": 10, "never": 10_000}.get(delivery.queue.name, 1)
    return SUCCESS if delivery.attempt >= needed else FAILURE


@pytest.mark.parametrize("restarts", [0, 9])
async def test_a_month(autojump_clock: object, restarts: int) -> None:
    storage, receiver = MemoryStorage(), Receiver(judge)
    async with until_killed(storage, receiver, wall=wall, sizes=Sizes(tidied=HOUR)) as engine:
        slow: dict[str, Any] = {"retry_delay": 600, "retry_delay_max": 3 * A_DAY, "retry_jitter": 0}
        await engine.queues.create("hard", max_retries=20, **slow)
        await engine.queues.create("never", max_retries=11, **slow)
        await engine.queues.create("paused", paused=True)
        daily = {"queue": "daily", "webhook_url": "http://daily.example/"}
        await engine.schedules.create(task=daily, cron="30 8 * * *", timezone="Europe/Berlin", catch_up="all")
        hourly = {"queue": "hourly", "webhook_url": "http://hourly.example/", "payload": {"n": 1}}
        await engine.schedules.create(task=hourly, every=HOUR, catch_up="all")
        hard = [await submit(engine, "hard", callback_url=BACK) for _ in range(5)]
        never = [await submit(engine, "never", callback_url=BACK) for _ in range(5)]
        cut = [await submit(engine, "hard", expires_in=2 * A_DAY, callback_url=BACK) for _ in range(5)]
        idle = [
            await submit(engine, "paused", expires_in=(n + 1) * A_DAY, callback_url=BACK) for n in range(10)
        ]
        far = [await submit(engine, "far", delay=n * A_DAY) for n in range(29)]
    for number in range(restarts):
        async with until_killed(storage, receiver, wall=wall, sizes=Sizes(tidied=HOUR)) as engine:
            await trio.sleep_until((number + 1) * MONTH / (restarts + 1) + 7.5)
    async with up(storage, receiver, wall=wall, sizes=Sizes(tidied=HOUR)) as engine:
        await trio.sleep_until(MONTH + 1)
        assert await storage.audit() == []
        counts = {queue.key.name: queue.counts for queue in await engine.queues.list()}
    assert {name: (c.pending, c.active) for name, c in counts.items()} == dict.fromkeys(counts, (0, 0))

    seen = Counter(delivery.queue.name for delivery in receiver.seen if delivery.tells_of is None)
    # expiry of two days: the ninth attempt would be at 600 * 255 s, the tenth at 600 * 511 s
    assert seen == {"hourly": 720, "daily": 30, "hard": 5 * 10 + 5 * 9, "never": 5 * 12, "far": 29}
    waits = [min(600 * 2**n, 3 * A_DAY) for n in range(11)]
    for tasks, attempts in ((hard, 10), (never, 12), (cut, 9)):
        times = [sum(waits[:n]) for n in range(attempts)]
        for task in tasks:
            assert receiver.at(task.id) == pytest.approx(times, abs=1e-2)
    for days, task in enumerate(far):
        assert receiver.at(task.id) == pytest.approx([days * A_DAY], abs=1e-2)
    mornings = [d for d in receiver.seen if d.queue.name == "daily"]
    shown = [datetime.fromtimestamp(d.started_at / SECOND, BERLIN) for d in mornings]
    assert {(moment.hour, moment.minute) for moment in shown} == {(8, 30)}
    assert sorted({moment.date().toordinal() for moment in shown}) == [
        *range(shown[0].date().toordinal(), shown[0].date().toordinal() + 30)
    ]
    pairs = zip(receiver.seen, receiver.began, strict=True)
    hours = [at for delivery, at in pairs if delivery.queue.name == "hourly"]
    assert hours == pytest.approx([hour * HOUR for hour in range(1, 721)], abs=1e-2)

    ends = Counter(
        (body["task"]["queue"], body["event"], body["task"]["failure_reason"]) for body in receiver.told
    )
    assert ends == {
        ("hard", "task.completed", None): len(hard),
        ("hard", "task.failed", "expired"): len(cut),
        ("never", "task.failed", "exhausted"): len(never),
        ("paused", "task.failed", "expired"): len(idle),
    }
