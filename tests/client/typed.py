"""What mypy makes of the clients. Only it reads this; an ignore that is not needed is an error."""

from __future__ import annotations

from typing import assert_type

from aq import AsyncClient, Client
from aq.client.events import AsyncEvents, Event, Events
from aq.client.results import Queue, Stats, Task, TaskPage
from aq.client.tasks import AsyncPages, Pages


def blocking(client: Client) -> None:
    assert_type(client.tasks.create(queue="q", webhook_url="http://a/", payload={"n": 1}), Task)
    assert_type(client.tasks.create_batch([{"queue": "q", "webhook_url": "http://a/"}]), tuple[Task, ...])
    assert_type(client.tasks.list(queue="q"), Pages)
    assert_type([task for task in client.tasks.list()], list[Task])  # noqa: C416 - it is about what comes out
    assert_type(client.tasks.list().page(), TaskPage)
    assert_type(client.tasks.delete("task_1"), None)
    assert_type(client.queues.update("q", rate_limit=None, signing_secrets=None), Queue)
    assert_type(client.queues.purge("q", dry_run=True), int)
    assert_type(client.stats(window=900), Stats)
    assert_type(client.with_options(max_retries=0), Client)
    assert_type(client.events(), Events)
    assert_type(next(client.events()), Event)


async def awaited(client: AsyncClient) -> None:
    assert_type(await client.tasks.create(queue="q", webhook_url="http://a/", payload=b"{}"), Task)
    assert_type(client.tasks.list(queue="q"), AsyncPages)
    assert_type([task async for task in client.tasks.list()], list[Task])
    assert_type(await client.tasks.list().page(), TaskPage)
    assert_type(await client.queues.retry("q", error_type="timeout"), int)
    assert_type(client.events(), AsyncEvents)
    assert_type(client.with_options(max_retries=0), AsyncClient)


def refused(client: Client) -> None:
    client.tasks.create(queue="q")  # type: ignore[call-arg]
    client.tasks.create(queue="q", webhook_url="http://a/", prioritty=3)  # type: ignore[call-arg]
    client.tasks.create(queue="q", webhook_url="http://a/", priority="high")  # type: ignore[arg-type]
    client.tasks.create_batch([{"queue": "q"}])  # type: ignore[typeddict-item]
    client.tasks.list(tag=3)  # type: ignore[arg-type]
    client.queues.update("q", max_retries=None)  # type: ignore[arg-type]
    client.keys.create(scopes=["read"])  # type: ignore[call-arg]
