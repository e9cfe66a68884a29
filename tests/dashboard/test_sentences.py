"""How a task stands in one sentence, and as lines for a shell."""

from __future__ import annotations

import json
import shlex

import pytest
import trio

from aq.dashboard.again import anew
from aq.dashboard.curl import to_api, to_receiver
from aq.dashboard.sentences import sentence
from aq.engine import Engine, TaskView
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.task import NewTask, Task
from tests.engine.support import FAILURE, GONE, SUCCESS, Gate, Receiver, settled, submit, up

PAYLOAD = {"name": "O'Neill & <b>", "big": 12345678901234567890123}


def answered(code: int, error_type: ErrorType) -> Outcome:
    return Outcome(status=AttemptStatus.FAILURE, error_type=error_type, response_code=code, error="said")


async def said(engine: Engine, task: Task) -> str:
    view = await engine.get(task.id)
    final = view.task.status.final
    return sentence(view, None if final else await engine.explain(task.id))


@pytest.mark.parametrize(
    ("outcome", "retries", "words"),
    [
        (SUCCESS, 0, "Completed by the first attempt, 1 s after it was created"),
        (answered(500, ErrorType.HTTP_5XX), 2, "Failed for good after 3 attempts: the receiver answered 500"),
        (
            answered(302, ErrorType.REDIRECT),
            0,
            "Failed for good after one attempt: the receiver answered with",
        ),
        (GONE, 2, "Failed after one attempt: the receiver answered 410 Gone"),
        (FAILURE, 0, "Failed for good after one attempt: it is not known how the attempt ended"),
    ],
)
async def test_ends(autojump_clock: object, outcome: Outcome, retries: int, words: str) -> None:
    async with up(runner=Receiver(lambda delivery: outcome, takes=1)) as engine:
        task = await submit(engine, max_retries=retries)
        await engine.wait(task.id)
        assert (await said(engine, task)).startswith(words)


async def test_from_one_state_to_the_next(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", concurrency=1, retry_delay=60)
        task = await submit(engine, delay=30)
        assert await said(engine, task) == "Waits until it is due"
        other = await submit(engine, delay=29)
        await trio.sleep(31)
        await settled()
        assert await said(engine, other) == "Attempt 1 is running"
        assert await said(engine, task) == "Due, and waits for its turn"
        await gate.end(other, FAILURE)
        await settled()
        assert await said(engine, other) == "Waits for its next attempt after one attempt that failed"
        await gate.end(task)
        await trio.sleep(70)
        await gate.end(other)
        assert (await said(engine, other)).startswith("Completed by attempt 2, ")
        late = await submit(engine, delay=10, expires_in=20)
        await engine.queues.pause("q")
        await trio.sleep(30)
        assert await said(engine, late) == "Failed: its time ran out after no attempts"


@pytest.fixture
async def view(autojump_clock: object) -> TaskView:
    seen = Receiver()
    async with up(runner=seen) as engine:
        task = await submit(
            engine,
            payload=PAYLOAD,
            max_retries=7,
            tags=("a b", "c"),
            method="PUT",
            headers={"x-token": "secret"},
            callback_url="http://back.example/",
        )
        return await engine.wait(task.id)


def words(line: str) -> list[str]:
    """As a shell reads it."""
    return shlex.split(line.replace("\\\n", " "))


async def test_curl_asks_the_receiver_what_the_service_asks_and_tells_no_secret(view: TaskView) -> None:
    curl, _, method, url, *rest = words(to_receiver(view))
    assert (curl, method, url) == ("curl", "PUT", view.task.webhook_url)
    assert "secret" not in to_receiver(view)
    assert rest[:-2] == ["-H", "Content-Type: application/json", "-H", "x-token: ***"]
    body = json.loads(rest[-1])
    assert body == {"task_id": view.task.id, "queue": "q", "payload": PAYLOAD, "attempt": 1}


async def test_curl_makes_the_same_task_again(view: TaskView) -> None:
    line = to_api(view, "http://127.0.0.1:8080")
    assert 'Bearer $AQ_API_KEY"' in line
    assert "secret" not in line
    body = json.loads(words(line)[-1])
    new = NewTask(**body)
    again = anew(view, {})
    assert dict(again.headers) == {"x-token": "secret"}
    assert (again.payload, new.payload) == (view.payload, view.payload)
    for name in ("queue", "webhook_url", "max_retries", "tags", "method", "callback_url", "priority"):
        assert getattr(new, name) == getattr(again, name)
    assert sorted(body) == sorted(
        ["queue", "webhook_url", "max_retries", "tags", "method", "callback_url", "payload"]
    )
