"""What is said to a queue supervisor. Requests carry a `Reply`; reports answer something it began."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import trio
from attrs import frozen

from aq.instants import Instant
from aq.outcome import Outcome
from aq.policy import QueuePolicy
from aq.storage.protocol import Answer
from aq.task import NewTask, Queue, Task

T = TypeVar("T")


class Reply(Generic[T]):
    """A one-shot slot: the first `set` or `fail` counts, and never blocks whoever answers."""

    __slots__ = ("_done", "_error", "_on_done", "_value")

    def __init__(self, on_done: Callable[[], None] | None = None) -> None:
        self._done = trio.Event()
        self._on_done = on_done
        self._value: T | None = None
        self._error: Exception | None = None

    def set(self, value: T) -> None:
        if not self._done.is_set():
            self._value = value
            self._finish()

    def fail(self, error: Exception) -> None:
        if not self._done.is_set():
            self._error = error
            self._finish()

    async def wait(self) -> T:
        """The value, or raises the error. Cancelling the wait does not take back what was asked."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # None only where T is None

    def _finish(self) -> None:
        self._done.set()
        if self._on_done is not None:
            self._on_done()


class Request:
    """Something asked by a caller."""

    reply: Reply[Any]


@frozen
class Submit(Request):
    """Accept a task; answered with it once it is durable."""

    new: NewTask
    traceparent: str | None
    reply: Reply[Task]


@frozen
class Remove(Request):
    """Delete a pending task; answered once it can never be delivered."""

    task_id: str
    reply: Reply[None]


@frozen
class Create(Request):
    """Make the queue with this policy, if there is none yet."""

    policy: QueuePolicy
    reply: Reply[Queue]


@frozen
class Configure(Request):
    """Give the queue the policy that ``change`` makes of its present one."""

    change: Callable[[QueuePolicy], QueuePolicy]
    reply: Reply[Queue]


@frozen
class Drop(Request):
    """Delete the queue and its finished tasks, if it holds no pending or active one."""

    reply: Reply[None]


@frozen
class Ended:
    """Report: the attempt of a running task ended at ``at``."""

    task: Task
    outcome: Outcome
    at: Instant


@frozen
class Settled:
    """Report: a write is on disk or was refused; ``then`` is what its writer wanted to do about it."""

    then: Callable[[Answer | Exception], None]
    answer: Answer | Exception


@frozen
class Woken:
    """Report: there is room to start again."""


@frozen
class Stop:
    """Report: end the attempts that run, write what is to be written, and go."""


Message = Request | Ended | Settled | Woken | Stop
