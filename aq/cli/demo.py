"""``aq demo``: delay, priority, retry, a rate limit and a dead endpoint, happening in one terminal."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from aq.cli.ends import Failure
from aq.cli.output import json_option, print_json, say

if TYPE_CHECKING:
    from aq.cli.listener import Arrived
    from aq.client import AsyncClient
    from aq.client.results import Task

PRIORITIES: Final = (1, 5, 10, 5, 1)
RATE: Final = 5
_SECONDS: Final = 60
"""More than a demonstration that goes well takes."""


@click.command()
@click.option(
    "--pause", type=click.FloatRange(0), default=1, show_default=True, help="Seconds between the scenes."
)
@json_option
def demo(pause: float, as_json: bool) -> None:
    """See what a task queue does, in 20 seconds.

    A server and a receiver run in this process, on free ports of this machine, in memory: nothing is left
    behind. With --json the figures of each scene are the result, and what is told goes to stderr.

    \b
    Nothing need be set up:
      aq demo
    """
    import trio

    from aq.cli.loop import run

    try:
        figures = run(_demo, pause, say if as_json else click.echo)
    except trio.TooSlowError:
        raise Failure(f"it took more than {_SECONDS} s: this machine is very busy") from None
    if as_json:
        print_json(figures)


async def _demo(pause: float, tell: Callable[[str], object]) -> list[dict[str, Any]]:
    import trio

    figures = []
    with trio.fail_after(_SECONDS):
        async with _stage(tell) as stage:
            for scene in (deliver, delay, priority, retry, rate_limit, dead_endpoint):
                tell("")
                figures.append({"scene": scene.__name__, **await scene(stage)})
                await trio.sleep(pause)
            tell("\nThat was it. To go on:  aq serve --dev   and, in the same folder,  aq send … --wait")
    return figures


class Stage:
    """A server's client, and a receiver whose answers depend on the path."""

    def __init__(self, client: AsyncClient, tell: Callable[[str], object]) -> None:
        self.client = client
        self.tell = tell
        self.hook = ""
        """The receiver's URL, without a path."""
        self.arrived: list[tuple[float, str, dict[str, Any]]] = []
        """When, at which path, what."""

    async def answer(self, request: Arrived) -> int:
        """``/flaky`` fails twice, then recovers."""
        self.arrived.append((time.monotonic(), request.target, json.loads(request.body)))
        return 500 if request.target == "/flaky" and len(self.at("/flaky")) < 3 else 200

    def at(self, path: str) -> list[dict[str, Any]]:
        """What has come to a path."""
        return [body for _, target, body in self.arrived if target == path]

    async def create(self, queue: str, path: str, **fields: Any) -> Task:
        return await self.client.tasks.create(queue=queue, webhook_url=self.hook + path, **fields)

    async def ended(self, task: Task) -> Task:
        return await self.client.tasks.wait(task.id, timeout=_SECONDS)


@asynccontextmanager
async def _stage(tell: Callable[[str], object]) -> AsyncIterator[Stage]:
    """Everything on free ports of this machine, until the block is left."""
    import trio

    from aq.cli.listener import listen
    from aq.client import AsyncClient
    from aq.keys import new_key
    from aq.server import Settings, serve

    key, ready, said = new_key(), trio.Event(), list[str]()

    def hear(greeting: str) -> None:
        said.append(greeting)
        ready.set()

    async def serve_until_told() -> None:
        await serve(Settings(port=0, storage="memory:", dev=True, api_key=key, grace=0), hear)
        if ready.is_set():  # by ^C, which the server takes for a wish to end in good order
            raise KeyboardInterrupt

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_until_told)
        await ready.wait()
        url = said[0].partition("ready on ")[2].split()[0]
        async with AsyncClient(url, key) as client:
            stage = Stage(client, tell)
            hook: str = await nursery.start(listen, "127.0.0.1", 0, stage.answer)
            stage.hook = hook.rstrip("/")
            await client.ready()  # connected, so that the first figure is of a task and not of that
            tell(f"A server is ready on {url}, a receiver on {hook}; tasks in memory, all in this process.")
            yield stage
        nursery.cancel_scope.cancel()


async def deliver(stage: Stage) -> dict[str, Any]:
    """A task, answered once it is stored, delivered at once."""
    begun = time.monotonic()
    made = await stage.create("orders", "/orders", payload={"order": 1042})
    answered = (time.monotonic() - begun) * 1_000
    task = await stage.ended(made)
    stage.tell("1. A TASK.  POST /v1/tasks is answered when the task is stored; then its webhook is called.")
    stage.tell(f"   accepted after {answered:.0f} ms as {task.id}")
    stage.tell(f"   the receiver got {json.dumps(stage.at('/orders')[0])}")
    stage.tell(f"   it answered {task.attempts[0].response_code}: the task is {task.status}")
    return {"status": task.status}


async def delay(stage: Stage) -> dict[str, Any]:
    """Two seconds later, and not a moment earlier."""
    stage.tell("2. DELAY.  delay=2: in two seconds, never early.")
    task = await stage.ended(await stage.create("orders", "/later", delay=2))
    (attempt,) = task.attempts
    waited = (attempt.executed_at - task.created_at).total_seconds()
    stage.tell(f"   started {waited:.3f} s after it was created, {attempt.lateness_ms} ms after it was due")
    return {"waited": waited, "status": task.status}


async def priority(stage: Stage) -> dict[str, Any]:
    """In a queue that was paused, so that all wait: the highest first."""
    stage.tell(f"3. PRIORITY.  Into a paused queue go tasks of priority {', '.join(map(str, PRIORITIES))}.")
    await stage.client.queues.create("lane", concurrency=1, paused=True)
    tasks = [
        await stage.create("lane", "/lane", priority=number, payload={"priority": number})
        for number in PRIORITIES
    ]
    explained = await stage.client.tasks.explain(tasks[0].id)
    stage.tell(f"   why is the first not running?  {explained.reasons[0].detail}")
    await stage.client.queues.resume("lane")
    for task in tasks:
        await stage.ended(task)
    order = [body["payload"]["priority"] for body in stage.at("/lane")]
    stage.tell(f"   resumed, they arrive in this order: {', '.join(map(str, order))}")
    return {"order": order}


async def retry(stage: Stage) -> dict[str, Any]:
    """A receiver that fails twice."""
    stage.tell("4. RETRY.  This receiver answers 500 twice, then recovers: the waits double.")
    task = await stage.ended(await stage.create("orders", "/flaky", payload={"order": 1043}))
    before = None
    for attempt in task.attempts:
        waited = "" if before is None else f", {(attempt.executed_at - before).total_seconds():.1f} s later"
        stage.tell(f"   attempt {attempt.number}: {attempt.response_code}{waited}")
        before = attempt.executed_at
    stage.tell(f"   the task is {task.status}; each attempt is on record")
    return {"codes": [attempt.response_code for attempt in task.attempts], "status": task.status}


async def rate_limit(stage: Stage) -> dict[str, Any]:
    """Ten at once into a queue that starts five a second."""
    stage.tell(f"5. RATE LIMIT.  Ten tasks at once, in a queue of {RATE} starts a second.")
    await stage.client.queues.create("partner", rate_limit={"per_second": RATE, "burst": 1})
    begun = time.monotonic()
    fields = [{"queue": "partner", "webhook_url": f"{stage.hook}/partner"} for _ in range(2 * RATE)]
    for task in await stage.client.tasks.create_batch(fields):  # type: ignore[arg-type]  # each is a task's fields
        await stage.ended(task)
    times = [at - begun for at, path, _ in stage.arrived if path == "/partner"]
    stage.tell("   they arrive after " + "  ".join(f"{at:.1f}" for at in times) + " s")
    return {"arrived": times}


async def dead_endpoint(stage: Stage) -> dict[str, Any]:
    """Nobody listens there."""
    stage.tell("6. A DEAD ENDPOINT.  Nobody listens there; two retries, half a second apart.")
    await stage.client.queues.create("dead", max_retries=2, retry_backoff="fixed", retry_delay=0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        task = await stage.ended(await stage.client.tasks.create(queue="dead", webhook_url=url))
    for attempt in task.attempts:
        stage.tell(f"   attempt {attempt.number}: {attempt.error_type}: {attempt.error}")
    stage.tell(
        f"   the task has failed ({task.failure_reason}) and is kept for two weeks: retry it when you like"
    )
    return {"status": task.status, "attempts": len(task.attempts), "error_type": task.error_type}
