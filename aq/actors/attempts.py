"""Attempts: started when the agenda says so, run, and concluded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import trio

from aq import lifecycle
from aq.actors.arrivals import Arrivals
from aq.actors.desk import Desk
from aq.actors.ends import Ends, callback_body
from aq.actors.messages import Ended
from aq.actors.outbox import Then
from aq.actors.patience import patiently
from aq.delivery.protocol import Delivery
from aq.errors import AsyncQueueError
from aq.instants import Instant, from_seconds
from aq.storage.answers import Answer, Applied, Refused
from aq.storage.changes import Start
from aq.task import Environment, Status, Task

_INTERRUPTED: Final = 500
"""Interrupted tasks recovered in one transaction."""
_HOLDING: Final = (429, 503)
"""Answers whose Retry-After holds the destination."""


class SupervisorError(AsyncQueueError):
    """What memory and storage say of a queue does not fit: the supervisor gives up, a successor rebuilds."""


class Attempts:
    """The attempts of one queue. ``nursery`` is the one they run in, set by the supervisor."""

    nursery: trio.Nursery

    def __init__(self, desk: Desk, arrivals: Arrivals, ends: Ends) -> None:
        self._desk = desk
        self._arrivals = arrivals
        self._ends = ends
        self.places = 0
        """Taken of the engine's capacity."""
        self.stopping = False
        """Set once: what starts from then on will be found active, and repeated."""

    def start(self, now: Instant) -> None:
        """Start what the agenda says, as far as there are places. A fresh task starts as it is written."""
        desk, capacity = self._desk, self._desk.services.capacity
        room = capacity.claim(desk.key, desk.agenda.startable(now), desk.outbox.wake)
        self.places += room
        entries = desk.agenda.start(now, room)
        if len(entries) < room:
            self._give_back(room - len(entries))
        for entry in entries:
            if not self._arrivals.start(entry.id, now, self._begun_fresh):
                start = Start(desk.key, entry.id, entry.version, now)
                desk.outbox.put([start], partial(self._begun, entry.id), insists=True)

    async def recover(self) -> None:
        """Attempts that a start was committed for and no end: recorded as unknown."""
        services = self._desk.services
        while not services.committer.broken and (
            interrupted := await patiently(lambda: services.storage.active(self._desk.key, _INTERRUPTED))
        ):
            await self._record_unknown(interrupted)

    async def _record_unknown(self, interrupted: Sequence[Task]) -> None:
        desk, random = self._desk, self._desk.services.random
        ends = [
            self._ends.end(after, Status.ACTIVE, attempt)
            for after, attempt in (
                lifecycle.interrupted(task, desk.policy, now=desk.now, chance=random.random())
                for task in interrupted
            )
        ]
        await desk.outbox.flush()
        unit = [change for end in ends for change in end.changes]
        answer = await desk.services.committer.commit(unit)
        if not isinstance(answer, Applied):
            raise SupervisorError(f"recovery of {desk.key} was refused: {answer}")
        for end in ends:
            self._ends.told(end)

    def _begun_fresh(self, task: Task, payload: bytes) -> Then:
        def begun(answer: Answer | Exception) -> None:
            if isinstance(answer, Applied):
                self._run(task, payload)
            else:
                self._not_begun(task.id)

        return begun

    def _begun(self, task_id: str, answer: Answer | Exception) -> None:
        """A start was committed: the request may leave. A start that was refused frees its slot."""
        if isinstance(answer, Applied):
            self._run(*answer.started[0])
            return
        self._not_begun(task_id)
        if isinstance(answer, Exception):
            self._desk.agenda.invalidate()

    def _not_begun(self, task_id: str) -> None:
        self._free_slot(task_id)
        self._desk.services.holds.abandoned(task_id)

    def _run(self, task: Task, payload: bytes) -> None:
        if self._desk.key.environment is not Environment.CALLBACK:
            self._desk.chronicle.started(task, task.started_at or task.due_at)
        if not self.stopping:
            self.nursery.start_soon(self._attempt, task, payload)

    async def _attempt(self, task: Task, payload: bytes) -> None:
        services, policy, options = self._desk.services, self._desk.policy, task.options
        if options.tells_of is not None:
            payload = await callback_body(services.storage, options.tells_of, payload)
        delivery = Delivery(
            task_id=task.id,
            queue=self._desk.key,
            webhook_url=task.webhook_url,
            payload=payload,
            attempt=task.attempt,
            timeout=lifecycle.in_force(task, policy)[1],
            due_at=task.due_at,
            started_at=task.started_at or task.due_at,
            traceparent=task.traceparent,
            tracestate=options.tracestate,
            created_at=task.created_at,
            method=options.method,
            headers=options.headers,
            signing_secrets=policy.signing_secrets,
            tells_of=options.tells_of,
        )
        outcome = await services.attempt(services.runner, delivery)
        self._desk.mailbox.report(Ended(task, outcome, services.clock.now()))

    def conclude(self, message: Ended) -> None:
        task, desk = message.task, self._desk
        self._free_slot(task.id)
        holds = message.outcome.response_code in _HOLDING and message.outcome.retry_after is not None
        wish = from_seconds(message.outcome.retry_after or 0) if holds else None
        desk.services.holds.ended(task.destination, task.id, message.at, wish)
        chance = 0.0 if message.outcome.succeeded else desk.services.random.random()
        after, attempt = lifecycle.ended(task, message.outcome, desk.policy, now=message.at, chance=chance)
        if after.status is Status.PENDING:
            desk.await_turn(after)
        end = self._ends.end(after, Status.ACTIVE, attempt)
        self._ends.put(end, partial(self._concluded, task.id), insists=True)

    def _concluded(self, task_id: str, answer: Answer | Exception) -> None:
        if isinstance(answer, Refused):
            raise SupervisorError(f"the outcome of {task_id} was refused: {answer.reason}")
        if isinstance(answer, Applied):
            self._desk.released(answer)

    def _free_slot(self, task_id: str) -> None:
        self._desk.agenda.finish(task_id)
        self._give_back(1)

    def _give_back(self, places: int) -> None:
        self.places -= places
        self._desk.services.capacity.release(places)
