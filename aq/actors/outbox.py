"""What a supervisor writes: gathered during a turn, sent at its end, in order; and who hears how it went."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias, TypeVar

from aq.actors.committer import Committer, Write
from aq.actors.mailbox import Mailbox
from aq.actors.messages import Reply, Settled, Woken
from aq.errors import AsyncQueueError, ConflictError, NotFoundError, UnavailableError
from aq.storage.answers import Answer, Applied, Reason, Refused
from aq.storage.changes import Unit

T = TypeVar("T")
Then: TypeAlias = Callable[[Answer | Exception], None]


class Outbox:
    """``unsettled`` counts the writes whose end the supervisor has not heard of yet."""

    def __init__(self, committer: Committer, mailbox: Mailbox) -> None:
        self.unsettled = 0
        self._committer = committer
        self._mailbox = mailbox
        self._writes: list[Write] = []
        self._settled: list[tuple[Then, Answer | Exception]] = []
        """What the supervisor has not heard of yet."""

    def put(self, unit: Unit, then: Then, *, insists: bool = False, first: Then | None = None) -> None:
        """Send a unit with the next `flush`.

        Once it is settled, whoever waits outside hears ``first``, also when the supervisor has crashed
        meanwhile; then ``then`` is run in a later turn of the supervisor, see `hear`.
        """
        self.unsettled += 1
        self._writes.append(Write(unit, partial(self._settle, first, then), insists))

    def wake(self) -> None:
        """Bring about a turn: something was put, or is over, outside of one."""
        self._mailbox.report(Woken())

    def hear(self) -> None:
        """Run what follows from the writes that are settled by now, in their order."""
        settled, self._settled = self._settled, []
        for then, answer in settled:
            self.unsettled -= 1
            then(answer)

    async def flush(self) -> None:
        """Hand what was put to the committer; waits while its inbox is full."""
        for write in self._writes:
            await self._committer.write(write)
        self._writes.clear()

    def _settle(self, first: Then | None, then: Then, answer: Answer | Exception) -> None:
        """All that a transaction settles is told by one message."""
        if first is not None:
            first(answer)
        self._settled.append((then, answer))
        if len(self._settled) == 1:
            self._mailbox.report(Settled())


def out_of_step(refused: Refused) -> AsyncQueueError:
    """A refusal that is nobody's fault: what was to be changed has changed at the same moment."""
    return UnavailableError("something else changed it at the same moment; try again")


class ClaimTakenError(ConflictError):
    """Another request with the same idempotency key was first: its answer is this one's."""


def not_accepted(refused: Refused) -> AsyncQueueError:
    """Why something new was not written."""
    if refused.reason is Reason.EXISTS:
        return ClaimTakenError("this idempotency key was used a moment ago")
    return out_of_step(refused)


def not_revivable(refused: Refused) -> AsyncQueueError:
    """Why a task does not wait again."""
    if refused.reason is Reason.EXISTS:
        return not_accepted(refused)
    if refused.reason is Reason.MISSING:
        return NotFoundError("there is no such task")
    return ConflictError("only a failed task can be retried, and this one is not failed any more")


def not_deletable(refused: Refused) -> AsyncQueueError:
    """Why a task is not deleted."""
    if refused.reason is Reason.MISSING:
        return NotFoundError("there is no such task")
    return ConflictError("only a pending task can be deleted, and this one has started or ended")


def answering(
    reply: Reply[T], value: T, *, refused: Callable[[Refused], AsyncQueueError] = out_of_step
) -> Then:
    """Answers a caller with ``value`` once its write is applied, else with why it was not."""

    def answer(settled: Answer | Exception) -> None:
        if isinstance(settled, Applied):
            reply.set(value)
        else:
            reply.fail(settled if isinstance(settled, Exception) else refused(settled))

    return answer
