"""The tasks of a service, as its clients see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from typing import Final, Unpack

import msgspec
from attrs import frozen

from aq.client.both import D, Resource, iterates, method
from aq.client.call import Call, new_key, reads
from aq.client.core import Core, Flow, Sleep
from aq.client.drivers import Async, Sync
from aq.client.errors import NotEnded
from aq.client.fields import TaskFields, TaskFilter, encode, encode_all, encode_query, path
from aq.client.results import Explanation, Task, TaskPage
from aq.client.trace import trace

LONGEST_HOLD: Final = 60.0
"""Seconds for which the service holds an answer back at most."""
PAGE: Final = 100
"""Tasks on a page, the most that the service gives."""


@frozen
class Listing:
    """What a list is of; it has no end of its own."""

    core: Core
    which: TaskFilter
    limit: int
    offset: int | None
    cursor: str | None

    def page(self, cursor: str | None = None) -> Flow[TaskPage]:
        """The page at a cursor, or the first one."""
        place = {"cursor": cursor or self.cursor, "offset": None if cursor else self.offset}
        query = encode_query({**self.which, "limit": self.limit, **place})
        return self.core.do(Call(method="GET", path=path("tasks") + query, read=reads(TaskPage)))


class _Made(msgspec.Struct):
    tasks: tuple[Task, ...]


@frozen
class Pages:
    """A list of tasks, newest first: iterate over it for every task, over `pages` for page by page.

    Each page is asked for when it is needed. A task that is there all the while is shown once.
    """

    _listing: Listing
    _driver: Sync

    def __iter__(self) -> Iterator[Task]:
        for page in self.pages():
            yield from page.tasks

    def pages(self) -> Iterator[TaskPage]:
        page = self.page()
        yield page
        while (cursor := page.pagination.next_cursor) is not None:
            page = self._driver.run(self._listing.page(cursor))
            yield page

    def page(self) -> TaskPage:
        """The first page, with where it is; its ``pagination.next_cursor`` is the next one's ``cursor``."""
        return self._driver.run(self._listing.page())


@frozen
class AsyncPages:
    """As `Pages`, with ``async for`` and to await."""

    _listing: Listing
    _driver: Async

    async def __aiter__(self) -> AsyncIterator[Task]:
        async for page in self.pages():
            for task in page.tasks:
                yield task

    async def pages(self) -> AsyncIterator[TaskPage]:
        page = await self.page()
        yield page
        while (cursor := page.pagination.next_cursor) is not None:
            page = await self._driver.run(self._listing.page(cursor))
            yield page

    async def page(self) -> TaskPage:
        """The first page, with where it is; its ``pagination.next_cursor`` is the next one's ``cursor``."""
        return await self._driver.run(self._listing.page())


class Tasks(Resource[D]):
    """``client.tasks``."""

    @method
    def create(
        self, *, traceparent: str | None = None, tracestate: str | None = None, **task: Unpack[TaskFields]
    ) -> Flow[Task]:
        """Have a webhook called: it is on disk when this returns.

        Asked again with the same ``idempotency_key`` it is the same task; without one each call makes a new
        one, however often it has to be sent. ``traceparent`` and ``tracestate`` go on to the webhook;
        they are those of OpenTelemetry's current span unless given.
        """
        key = None if task.get("idempotency_key") is not None else new_key()
        return self._post(Task, "tasks", body=encode(task), key=key, trace=trace(traceparent, tracestate))

    @method
    def create_batch(
        self,
        tasks: Iterable[TaskFields],
        *,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> Flow[tuple[Task, ...]]:
        """Up to 1,000 tasks of any queues, all or none; answered in the order given."""
        body, key = encode_all("tasks", tasks), idempotency_key or new_key()
        made = yield from self._post(
            _Made, "tasks", "batch", body=body, key=key, trace=trace(traceparent, tracestate)
        )
        return made.tasks

    @method
    def get(self, id: str, *, wait: float = 0) -> Flow[Task]:  # noqa: A002 - as the API has it
        """The task with its payload and attempts; once it has ended, or after ``wait`` seconds (0 to 60)."""
        return self._held(id, wait)

    @iterates(Pages, AsyncPages)
    def list(
        self,
        *,
        limit: int = PAGE,
        offset: int | None = None,
        cursor: str | None = None,
        **which: Unpack[TaskFilter],
    ) -> Listing:
        """Every task there is, or those that a filter names, without payloads and attempts.

        ``limit`` is how many come with one request (1 to 100); ``cursor`` or ``offset`` where to begin.
        """
        return Listing(self._core, which, limit, offset, cursor)

    @method
    def wait(self, id: str, timeout: float | timedelta | None = None) -> Flow[Task]:  # noqa: A002
        """The task, once it is completed or has failed. Raises NotEnded when ``timeout`` seconds passed."""
        clock = self._core.clock
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        ends_at = None if seconds is None else clock() + seconds
        polls = 0
        while True:
            began = clock()
            hold = LONGEST_HOLD if ends_at is None else min(LONGEST_HOLD, max(0.0, ends_at - began))
            task = yield from self._held(id, hold)
            polls += 1
            if task.ended:
                return task
            if ends_at is not None and clock() >= ends_at:
                error = NotEnded(f"task {id} is {task.status} after {seconds:g} s")
                error.task = task
                raise error
            if clock() - began < hold / 2:  # a service that is ending does not hold answers back
                yield Sleep(self._core.backoff(polls))

    @method
    def delete(self, id: str) -> Flow[None]:  # noqa: A002
        """Delete a pending task: when this returns it will never be delivered. Raises Conflict."""
        return self._delete("tasks", id, gone_is_done=False)

    @method
    def retry(self, id: str, *, idempotency_key: str | None = None) -> Flow[Task]:  # noqa: A002
        """Try a failed task again, now, with all its retries. Raises Conflict for one that has not failed."""
        return self._post(Task, "tasks", id, "retry", key=idempotency_key or new_key())

    @method
    def explain(self, id: str) -> Flow[Explanation]:  # noqa: A002
        """Why a task is not running, and the retries it has left."""
        return self._get(Explanation, "tasks", id, "explain")

    def _held(self, task_id: str, wait: float) -> Flow[Task]:
        query = encode_query({"wait": round(wait, 3) or None})
        return self._get(Task, "tasks", task_id, query=query, holds=wait)
