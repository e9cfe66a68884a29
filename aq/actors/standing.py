"""Why a waiting task does not run: what its queue's agenda knows, in words."""

from __future__ import annotations

from collections.abc import Iterator

from aq.actors.agenda import Standing
from aq.actors.desk import Desk
from aq.actors.holds import FOREVER
from aq.actors.messages import Explain
from aq.explanation import Explanation, Reason, Why, calendar
from aq.instants import to_rfc3339
from aq.storage.answers import Entry
from aq.task import Environment, Task


def explain(message: Explain, desk: Desk) -> None:
    """Answer the request from what holds at this moment."""
    task, now = message.task, desk.now
    running = task.id in desk.agenda.running
    standing = desk.agenda.explain(Entry.of(task), now)
    reasons = (
        (Reason(Why.RUNNING, f"an attempt {'is under way' if task.started_at else 'is about to begin'}"),)
        if running
        else tuple(_reasons(task, standing, desk))
    )
    ahead = 0 if running else standing.ahead
    exact = running or standing.ahead_is_exact
    message.reply.set(Explanation(task, reasons, ahead, exact, calendar(task, desk.policy, now)))


def _reasons(task: Task, standing: Standing, desk: Desk) -> Iterator[Reason]:
    if desk.key.environment is Environment.TEST:
        yield Reason(Why.SANDBOX, "tasks of the sandbox are kept and never delivered")
    if task.due_at > desk.now:
        yield Reason(Why.SCHEDULED, f"it is due at {to_rfc3339(task.due_at)}", task.due_at)
    if standing.paused:
        yield Reason(Why.PAUSED, "its queue is paused")
    if standing.held_until is not None:
        until = None if standing.held_until >= FOREVER else standing.held_until
        how = "one attempt is asking whether it is ready" if until is None else "it asked for a pause"
        yield Reason(Why.DESTINATION_HELD, f"{task.destination} is held: {how}", until)
    if standing.destination_full:
        allowed = desk.policy.destination_concurrency
        yield Reason(
            Why.DESTINATION_CONCURRENCY, f"{task.destination} has {allowed} attempts in flight already"
        )
    if standing.token_at is not None:
        yield Reason(Why.RATE_LIMIT, "its queue's rate limit is used up", standing.token_at)
    if standing.waits_for_slot:
        yield Reason(Why.CONCURRENCY, f"its queue has {desk.policy.concurrency} attempts in flight already")
    if standing.ahead:
        least = "" if standing.ahead_is_exact else "at least "
        yield Reason(Why.TASKS_AHEAD, f"{least}{standing.ahead:,} tasks of its queue go before it")
    if desk.services.capacity.keeps_waiting(desk.key):
        yield Reason(Why.SERVER_BUSY, "the server has as many attempts in flight as it may have")
