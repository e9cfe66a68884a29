"""What a queue's supervisor does beside its turns; what is decided there goes back into them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from aq.actors.desk import Desk
from aq.actors.messages import Reply, Request
from aq.actors.outbox import Then
from aq.actors.record import QueueRecord
from aq.errors import DrainingError, UnavailableError
from aq.storage.answers import Answer, Applied

logger = logging.getLogger(__name__)


class Beside:
    """``nursery`` is the one it runs in, set by the supervisor. ``running`` is how many chores do."""

    nursery: trio.Nursery

    def __init__(self, desk: Desk, record: QueueRecord) -> None:
        self._desk = desk
        self._record = record
        self.running = 0
        self._given_up: UnavailableError | None = None
        """Why a chore is put off: what it would have cleared away stays until the next start."""

    @property
    def clearing(self) -> bool:
        """Whether storage holds tasks that count as gone."""
        return self._desk.clearing is not None

    def _between_sweeps(self, act: Callable[[], None], asked: Request | None = None) -> None:
        """Run ``act``, which may change the queue's row, in turn and while nothing is being swept."""

        def unless_swept() -> None:
            if self.clearing:
                self._begin(self._later, partial(self._between_sweeps, act, asked), asked)
            else:
                act()

        self._record.in_turn(unless_swept, asked)

    async def _later(self, act: Callable[[], None]) -> None:
        await self._end_of_sweep()
        act()

    async def _end_of_sweep(self) -> None:
        while self.clearing:
            if self._given_up is not None:
                raise self._given_up
            await self._record.settled.wait()

    def _in_turn(self, then: Then, **changes: Any) -> None:
        self._record.in_turn(partial(self._record.change, then=then, **changes))

    async def _answer(
        self, ask: Callable[[Then], None], heard: Callable[[Applied], object] = lambda answer: None
    ) -> Answer:
        """Put something from outside a turn, and wait until it is settled.

        ``heard`` is told of it in the very turn that hears of it, before that turn starts anything.
        """
        reply = Reply[Answer]()

        def settle(answer: Answer | Exception) -> None:
            if isinstance(answer, Applied):
                heard(answer)
            reply.settle(answer)

        ask(settle)
        self._desk.outbox.wake()
        return await reply.wait()

    def _then(self, chore: Callable[[Any], Any], mark: Any) -> Then:
        def begin(answer: Answer | Exception) -> None:
            if isinstance(answer, Applied):
                self._begin(chore, mark)

        return begin

    def _begin(self, chore: Callable[[Any], Any], about: Any, asked: Request | None = None) -> None:
        if self.nursery.cancel_scope.cancel_called:  # the next life goes on with what is marked
            if asked is not None:
                asked.reply.fail(DrainingError())
            return
        self.running += 1
        self.nursery.start_soon(self._run, chore, about, asked)

    async def _run(self, chore: Callable[[Any], Any], about: Any, asked: Request | None) -> None:
        try:
            await chore(about)
        except UnavailableError as error:
            logger.warning("%s: put off until the next start: %s", self._desk.key, error)
            self._given_up = error
            self._record.tell()
            if asked is not None:
                asked.reply.fail(error)
        except BaseException:
            if asked is not None:
                asked.reply.fail(UnavailableError("it was interrupted; repeat it"))
            raise
        finally:
            self.running -= 1
            self._desk.outbox.wake()
