"""What is said to a queue supervisor. Requests carry a `Reply`; reports answer something it began."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import trio
from attrs import frozen

from aq.claiming import Claiming
from aq.explanation import Explanation
from aq.instants import Instant
from aq.outcome import Outcome
from aq.policy import QueuePolicy
from aq.storage.answers import Entry
from aq.task import NewTask, Queue, Revival, Task, TraceContext

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

    def settle(self, answer: T | Exception) -> None:
        """`fail` with an error, `set` anything else."""
        if isinstance(answer, Exception):
            self.fail(answer)
        else:
            self.set(answer)

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


class Receipt(msgspec.Struct, frozen=True):
    """What a request got that made or revived a task: the task, and the values in force at that moment.

    ``timeout`` is in seconds.
    """

    task: Task
    max_retries: int
    timeout: int | float


@frozen
class Submit(Request):
    """Accept a task; answered once it is durable. ``trace`` is of whoever asks."""

    new: NewTask
    trace: TraceContext
    reply: Reply[Receipt]
    claiming: Claiming | None = None


@frozen
class Ensure(Request):
    """Make the queue with the default policy, if there is none yet; answered once it is durable."""

    reply: Reply[None]


@frozen
class Revive(Request):
    """A failed task, as it was read, is to wait again."""

    task: Task
    reply: Reply[Receipt]
    claiming: Claiming | None = None


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
    claiming: Claiming | None = None


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
class Clear(Request):
    """Every pending task is gone from now on; answered with their number once that is durable."""

    reply: Reply[int]


@frozen
class ReviveAll(Request):
    """The failed tasks that ``revival`` covers, ``count`` of them, wait again, in small steps from now on."""

    revival: Revival
    count: int
    reply: Reply[int]
    claiming: Claiming | None = None


@frozen
class Explain(Request):
    """Why a pending task, as it was read, does not run."""

    task: Task
    reply: Reply[Explanation]


@frozen
class Arrived:
    """Report: these tasks wait since a moment ago; someone else wrote them.

    ``expires_at`` is the earliest limit among all that were written, also those that are held back.
    """

    entries: Sequence[Entry]
    expires_at: Instant | None = None


class Ended(msgspec.Struct, frozen=True):
    """Report: the attempt of a running task ended at ``at``."""

    task: Task
    outcome: Outcome
    at: Instant


@frozen
class Settled:
    """Report: writes are on disk or were refused; the outbox knows which."""


@frozen
class Woken:
    """Report: there is room to start again."""


@frozen
class Stop:
    """Report: end the attempts that run, write what is to be written, and go."""


Message = Request | Arrived | Ended | Settled | Woken | Stop
