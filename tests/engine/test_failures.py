"""What failed, by kind, and lists that go both ways."""

from __future__ import annotations

from aq.delivery.protocol import Delivery
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.storage.answers import Failures, TaskFilter
from tests.engine.support import FAILURE, GONE, SUCCESS, Receiver, submit, up, wait_for

REFUSED = Outcome(status=AttemptStatus.ERROR, error_type=ErrorType.CONNECT, error="connection refused")


def answer(delivery: Delivery) -> Outcome:
    words = {"/gone": GONE, "/refused": REFUSED, "/failure": FAILURE}
    return next((outcome for word, outcome in words.items() if delivery.webhook_url.endswith(word)), SUCCESS)


async def test_failures_are_told_by_kind(autojump_clock: object) -> None:
    async with up(runner=Receiver(answer)) as engine:
        refused = [
            await submit(engine, url=f"http://a.example:{port}/refused", max_retries=0)
            for port in (80, 80, 81)
        ]
        gone = await submit(engine, queue="other", url="http://a.example/gone")
        await submit(engine)
        await wait_for(engine, [*refused, gone])
        found = await engine.failures()
        kinds = [(group.queue, group.destination, group.error_type, group.count) for group in found.groups]
        assert kinds[0] == ("q", "http://a.example", ErrorType.CONNECT, 2)
        assert set(kinds[1:]) == {
            ("q", "http://a.example:81", ErrorType.CONNECT, 1),
            ("other", "http://a.example", ErrorType.GONE, 1),
        }
        assert (found.looked_at, found.total) == (4, 4)
        assert found.groups[0].samples == (refused[1].id, refused[0].id)
        assert found.groups[0].error == "connection refused"
        assert [group.queue for group in (await engine.failures(queues=("other",))).groups] == ["other"]
        assert await engine.failures(queues=()) == Failures([], 0, 0)


async def test_a_list_goes_up_from_a_task_as_it_goes_down(autojump_clock: object) -> None:
    async with up(runner=Receiver()) as engine:
        tasks = [await submit(engine, delay=60) for _ in range(5)]
        ids = [task.id for task in tasks]
        page = await engine.find(TaskFilter(), limit=2, after=ids[1])
        assert [task.id for task in page.tasks] == ids[2:4]
        assert page.more == ids[3]
        page = await engine.find(TaskFilter(), limit=2, after=page.more)
        assert ([task.id for task in page.tasks], page.more) == (ids[4:], None)
