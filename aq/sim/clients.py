"""What clients are told, judged against what is on disk at that moment."""

from __future__ import annotations

from typing import Any, Final

from attrs import define, field

from aq.engine import TaskView
from aq.errors import AsyncQueueError, ConflictError, NotFoundError, UnavailableError
from aq.explanation import Explanation, Why
from aq.sim.clock import now as current
from aq.sim.ledger import Ask, Ledger
from aq.sim.trace import Trace
from aq.sim.verdict import Verdict
from aq.storage.answers import TaskPage
from aq.task import QueueKey, Status, Task

_READS: Final = ("get", "explain", "wait", "list")


@define
class Clients:
    """Asks are numbered; an answer is judged when it comes. One that never comes says nothing."""

    ledger: Ledger
    verdict: Verdict
    trace: Trace
    claims: dict[tuple[str, str], tuple[int, str]] = field(factory=dict)
    """By environment and idempotency key: what was asked for, and the task that it got."""

    def ask(
        self, what: str, key: QueueKey, *, task_id: str | None = None, stamp: int = 0, **fields: Any
    ) -> Ask:
        """A client asks."""
        ask = Ask(what, key, current(), task_id=task_id, fields=fields, commits=stamp)
        row = self.ledger.rows.get(task_id or "")
        if row is not None:
            ask.revived = row.revived
        if what == "purge":
            ask.pending = {row.task.id: row.task.version for row in self.ledger.waiting(key)}
        self.ledger.asks[what, key].append(ask)
        self.trace.coverage[what, self._state(key, task_id)] += 1
        self.trace.say("ask", what, key, task_id or "", fields or "")
        return ask

    def lost(self, ask: Ask) -> None:
        """The answer will never come."""
        ask.settled_at = current()
        self.trace.say("lost", ask.what)

    def refused(self, ask: Ask, error: AsyncQueueError) -> None:
        """An error is the answer. A 503 says nothing of whether it happened."""
        ask.settled_at = current()
        self.trace.say("refused", ask.what, ask.task_id or "", type(error).__name__)
        if isinstance(error, UnavailableError):
            return
        if not isinstance(error, _may_be_told(ask)):
            self._broken("clients are told", f"{ask.what} was answered {error!r}")

    def done(self, ask: Ask, answer: Any = None) -> None:
        """It is done, and durable."""
        ask.settled_at = current()
        self.trace.say("done", ask.what, ask.task_id or "", _shown(answer))

    # -- tasks ----------------------------------------------------------------------------------------------
    def submitted(self, ask: Ask, task: Task) -> None:
        """A task was acknowledged."""
        self.done(ask, task.id)
        if task.id not in self.ledger.inserted[ask.number]:
            self._broken("durable before it is acknowledged", f"{task.id}, request {ask.number}")

    def claimed(self, ask: Ask, name: str, task: Task, stamp: int) -> None:
        """A task was acknowledged to a request with an idempotency key: the same as to its first one.

        It may have been read from a commit that has happened, and has not returned yet.
        """
        self.done(ask, task.id)
        claim = self.claims.setdefault((ask.key.environment, name), (ask.number, task.id))
        if claim != (ask.number, task.id):
            self._broken("same request, same task", f"{name}: {claim}, then {ask.number} and {task.id}")
        if not stamp % 2 and task.id not in self.ledger.inserted[ask.number]:
            self._broken("durable before it is acknowledged", f"{task.id}, request {ask.number}")

    def conflicted(self, ask: Ask, name: str) -> None:
        """A request was told that its idempotency key is another one's."""
        claim = self.claims.get((ask.key.environment, name))
        if claim is not None and claim[0] == ask.number:
            self._broken("same request, same task", f"{name} was refused to request {ask.number}")

    def deleted(self, ask: Ask) -> None:
        self.done(ask)
        if ask.task_id in self.ledger.rows:
            self._broken("durable before it is acknowledged", f"{ask.task_id} was deleted, and is there")

    def retried(self, ask: Ask) -> None:
        self.done(ask)
        row = self.ledger.rows.get(ask.task_id or "")
        if row is not None and row.revived == ask.revived:
            self._broken("durable before it is acknowledged", f"{ask.task_id} was retried, and is not")

    def purged(self, ask: Ask, count: int) -> None:
        """What waited when it was asked for, and has waited ever since, will never start."""
        self.done(ask, count)
        for task_id, version in ask.pending.items():
            row = self.ledger.rows.get(task_id)
            if row is not None and row.task.version == version and row.task.status is Status.PENDING:
                row.condemned = True

    def configured(self, ask: Ask) -> None:
        self.done(ask)
        queue = self.ledger.queues.get(ask.key)
        for name, value in ask.fields.items():
            if queue is not None and value not in self.ledger.values(ask.key, name, ask.asked_at):
                self._broken("durable before it is acknowledged", f"{name} of {ask.key}")

    def waited(self, ask: Ask, view: TaskView) -> None:
        """It has ended, and may have been retried since by a commit that nobody has heard of yet."""
        self.done(ask, view.task.status)
        if not view.task.status.final:
            row = self.ledger.rows.get(view.task.id)
            retried = row is not None and row.task.status.final and self.ledger.may_be_retried(row.task)
            if row is None or not (row.revived or retried):
                self._broken("wait", f"{view.task.id} is {view.task.status} for who waited for its end")

    def read(self, ask: Ask, view: TaskView, stamp: int) -> None:
        """A task was read; compared where nothing was written meanwhile."""
        self.done(ask, f"{view.task.status} v{view.task.version}")
        row = self.ledger.rows.get(view.task.id)
        if stamp == ask.commits and not stamp % 2 and (row is None or row.task != view.task):
            self._broken("reads are true", f"{view.task.id} was read as {view.task}, is {row and row.task}")

    def explained(self, ask: Ask, told: Explanation) -> None:
        self.done(ask, " ".join(reason.why for reason in told.reasons))
        ended = any(reason.why is Why.ENDED for reason in told.reasons)
        if ended != told.task.status.final:
            self._broken("reads are true", f"{told.task.id} is {told.task.status}: {told.reasons}")

    def missed(self, ask: Ask, stamp: int) -> None:
        """A task was said not to be there."""
        if stamp == ask.commits and not stamp % 2 and ask.task_id in self.ledger.rows:
            self._broken("no task lost", f"{ask.task_id} was not found")

    def listed(self, ask: Ask, page: TaskPage, status: Status | None, stamp: int) -> None:
        self.done(ask, page.total)
        if stamp == ask.commits and not stamp % 2:
            count = sum(
                row.task.queue == ask.key and status in (None, row.task.status)
                for row in self.ledger.rows.values()
            )
            if page.total != count:
                self._broken("counts are true", f"{ask.key} {status}: {page.total} listed, there are {count}")

    def _state(self, key: QueueKey, task_id: str | None) -> str:
        """In which state what is asked about is, for the table of what was covered."""
        if task_id is not None:
            row = self.ledger.rows.get(task_id)
            if row is None:
                return "gone"
            waits = row.task.status is Status.PENDING
            return "delayed" if waits and row.task.due_at > current() else str(row.task.status)
        queue = self.ledger.queues.get(key)
        if queue is None:
            return "no queue"
        if queue.clearing is not None:
            return "clearing"
        if queue.policy.paused:
            return "paused"
        return "busy" if self.ledger.active[key] else "waiting" if self.ledger.open[key] else "idle"

    def _broken(self, promise: str, told: str) -> None:
        self.verdict.broken(promise, told)


def _may_be_told(ask: Ask) -> tuple[type[AsyncQueueError], ...]:
    """What a request may be refused with for good."""
    if ask.what in ("submit", "batch"):
        return (ConflictError,) if ask.fields.get("named") else ()
    return (NotFoundError,) if ask.what in _READS else (NotFoundError, ConflictError)


def _shown(answer: Any) -> str:
    return "" if answer is None else str(answer)
