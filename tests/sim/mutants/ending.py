"""Slips in attempts and in what their ends make of a task: retries, callbacks, recovery."""

from __future__ import annotations

from typing import Any, Final

from attrs import evolve
from msgspec.structs import replace

from aq.outcome import AttemptStatus
from aq.storage.changes import Insert, Record
from aq.task import Status
from tests.sim.mutants.mutant import Mutant, nothing, nothing_done, zero


def one_retry_too_many(in_force: Any) -> Any:
    def more(task: Any, policy: Any) -> Any:
        retries, timeout = in_force(task, policy)
        return retries + 1, timeout

    return more


def from_the_start(judged: Any) -> Any:
    def early(task: Any, outcome: Any, policy: Any, now: int, chance: float) -> Any:
        return judged(task, outcome, policy, task.started_at, chance)

    return early


def twice_the_jitter(wait: Any) -> Any:
    return lambda self, failures, chance: wait(self, failures, 2 * chance)


def without_a_wish(judge: Any) -> Any:
    return lambda response, now: evolve(judge(response, now), retry_after=None)


def a_redirect_will_do(judge: Any) -> Any:
    return lambda response, now: judge(
        replace(response, status=200) if 300 <= response.status <= 399 else response, now
    )


def without_its_limit(revived: Any) -> Any:
    return lambda task, now: replace(revived(task, now=now), expires_at=None)


def gone_or_not(kind: Any) -> Any:
    return lambda status: kind(404 if status == 410 else status)


def without_a_deadline(run_attempt: Any) -> Any:
    async def patient(runner: Any, delivery: Any) -> Any:
        return await run_attempt(runner, replace(delivery, timeout=1e6))

    return patient


def leaking(conclude: Any) -> Any:
    def concluded(self: Any, message: Any) -> None:
        if message.outcome.status is AttemptStatus.TIMEOUT:
            self._free_slot = lambda task_id: None
        conclude(self, message)
        vars(self).pop("_free_slot", None)

    return concluded


def off_the_record(end: Any) -> Any:
    def ended(self: Any, after: Any, was: Any, attempt: Any = None) -> Any:
        found = end(self, after, was, attempt)
        if after.status is not Status.FAILED:
            return found
        return replace(found, changes=[one for one in found.changes if not isinstance(one, Record)])

    return ended


def told_twice(end: Any) -> Any:
    def ended(self: Any, after: Any, was: Any, attempt: Any = None) -> Any:
        found = end(self, after, was, attempt)
        if found.callback is None:
            return found
        again = replace(found.callback, id=self._desk.services.minter.mint(found.at, "cb_"))
        return replace(found, changes=[*found.changes, Insert(again, b"{}")])

    return ended


def told_apart(put: Any) -> Any:
    def apart(self: Any, end: Any, then: Any, *, insists: bool) -> None:
        told = [one for one in end.changes if isinstance(one, Insert)]
        put(self, replace(end, changes=end.changes[: len(end.changes) - len(told)]), then, insists=insists)
        if told:
            self._desk.outbox.put(told, lambda answer: None)

    return apart


def not_if_expired(end: Any) -> Any:
    def ended(self: Any, after: Any, was: Any, attempt: Any = None) -> Any:
        if attempt is None:
            found = end(self, replace(after, options=evolve(after.options, callback_url=None)), was)
            return replace(found, task=after, changes=[type(found.changes[0])(after, was=was)])
        return end(self, after, was, attempt)

    return ended


def nobody_is_told(told: Any) -> Any:
    return lambda self, end: None


CALLBACK: Final = ("one callback for each end",)
ENDING: Final = [
    Mutant(
        name="one retry too many",
        slip="max_retries counts attempts, plus one",
        where="aq.lifecycle:in_force",
        fault=one_retry_too_many,
        promises=("attempts",),
    ),
    Mutant(
        name="backoff from the start",
        slip="the wait counts from the beginning of the failed attempt",
        where="aq.lifecycle:_judged",
        fault=from_the_start,
        promises=("backoff",),
    ),
    Mutant(
        name="twice the jitter",
        slip="the jitter may be double of what the policy says",
        where="aq.policy:QueuePolicy.retry_wait_us",
        fault=twice_the_jitter,
        promises=("backoff",),
    ),
    Mutant(
        name="Retry-After ignored",
        slip="what a receiver asks for is not heard",
        where="aq.delivery.webhook:judge",
        fault=without_a_wish,
        promises=("backoff", "hold"),
        first=10,
    ),
    Mutant(
        name="a redirect completes",
        slip="a 3xx counts as a success",
        where="aq.delivery.webhook:judge",
        fault=a_redirect_will_do,
        promises=("as it went",),
        first=20,
    ),
    Mutant(
        name="gone and retried",
        slip="a 410 counts as any other 4xx",
        where="aq.delivery.judge:_kind",
        fault=gone_or_not,
        promises=("gone is gone",),
    ),
    Mutant(
        name="no deadline",
        slip="an attempt may take as long as its receiver likes",
        where="aq.opening:run_attempt",
        fault=without_a_deadline,
        promises=("late",),
        first=25,
    ),
    Mutant(
        name="a slot leaked",
        slip="an attempt that timed out keeps its slot",
        where="aq.actors.attempts:Attempts.conclude",
        fault=leaking,
        promises=("late", "everything ends"),
        first=35,
    ),
    Mutant(
        name="off the record",
        slip="the last attempt of a task that fails is not in its history",
        where="aq.actors.ends:Ends.end",
        fault=off_the_record,
        promises=("each attempt on record",),
    ),
    Mutant(
        name="no recovery",
        slip="what a crash interrupted stays active",
        where="aq.actors.attempts:Attempts.recover",
        fault=nothing_done,
        promises=("everything ends",),
    ),
    Mutant(
        name="a crash costs a retry",
        slip="an attempt that a crash interrupted counts as failed",
        where="aq.lifecycle:UNKNOWNS_FORGIVEN",
        fault=zero,
        promises=("attempts", "backoff"),
    ),
    Mutant(
        name="a retry without its limit",
        slip="a failed task that is retried by hand does not expire any more",
        where="aq.lifecycle:revived",
        fault=without_its_limit,
        promises=("expiry",),
    ),
    Mutant(
        name="a callback told twice",
        slip="two callbacks are written for one end",
        where="aq.actors.ends:Ends.end",
        fault=told_twice,
        promises=CALLBACK,
    ),
    Mutant(
        name="a callback apart",
        slip="a callback is written behind the end that it tells of, not with it",
        where="aq.actors.ends:Ends.put",
        fault=told_apart,
        promises=CALLBACK,
    ),
    Mutant(
        name="a callback never told",
        slip="a task that expires while it waits has no callback",
        where="aq.actors.ends:Ends.end",
        fault=not_if_expired,
        promises=CALLBACK,
    ),
    Mutant(
        name="callbacks unheard of",
        slip="nobody is told of an end: no callback starts, no waiting caller is answered",
        where="aq.actors.ends:Ends.told",
        fault=nobody_is_told,
        promises=("late", "everything ends"),
    ),
    Mutant(
        name="who waits is not told",
        slip="callers who wait for an end are forgotten",
        where="aq.actors.waiters:Waiters.tell",
        fault=nothing,
        promises=("late",),
    ),
]
