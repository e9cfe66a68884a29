"""An engine inside a Trio app: tasks are done by functions of this program, in place of webhooks.

python examples/trio_app.py

The first attempt at the thumbnail fails on purpose: its traceback is on stderr, and the second one succeeds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from aq import Delivery, NewTask, Outcome, open_engine

NOWHERE = "http://localhost/"  # every task has a webhook_url; a runner of your own need not look at it


async def send_mail(to: str) -> None:
    await trio.sleep(0.01)
    print(f"mail to {to}")


async def make_thumbnail(picture: int, delivery: Delivery) -> None:
    if delivery.attempt == 1:
        raise OSError("the picture is not there yet")  # whatever is raised is a failed attempt, to be retried
    print(f"thumbnail of picture {picture} at attempt {delivery.attempt}")


HANDLERS: dict[str, Callable[[Any, Delivery], Awaitable[None]]] = {
    "mail": lambda payload, delivery: send_mail(payload["to"]),
    "thumbnails": lambda payload, delivery: make_thumbnail(payload["picture"], delivery),
}


async def run(delivery: Delivery) -> Outcome:
    """One attempt. It is cancelled when its `timeout` is over; return `Outcome.failure` to fail in words."""
    handler = HANDLERS.get(delivery.queue.name)
    if handler is None:
        return Outcome.failure(f"nobody does {delivery.queue.name}")
    await handler(delivery.json(), delivery)
    return Outcome.success()


async def main() -> None:
    # "sqlite:///app.db" keeps tasks over restarts, and over kill -9.
    async with open_engine(storage="memory:", runner=run) as engine:
        await engine.queues.create("thumbnails", concurrency=2, retry_delay=0.1)
        first = await engine.submit(NewTask("mail", NOWHERE, {"to": "ada@example.com"}))
        second = await engine.submit(NewTask("thumbnails", NOWHERE, {"picture": 7}))
        for task in (first, second):
            view = await engine.wait(task.id)
            print(view.task.queue, view.task.status, [attempt.status.value for attempt in view.attempts])


if __name__ == "__main__":
    trio.run(main)
