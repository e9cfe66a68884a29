"""Faults planted into the engine, one at a time: the simulator finds each of them, and names it rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from attrs import evolve, frozen

from aq.sim.planting import planted
from aq.sim.simulate import simulate
from aq.storage.answers import Applied
from aq.task import Status

WITHIN = 500
"""Seeds."""


@frozen
class Planted:
    """``promises`` are the names under which it may show."""

    name: str
    where: str
    fault: Callable[[Any], Any]
    promises: tuple[str, ...]


def acknowledged_before_the_commit(write: Any) -> Any:
    async def early(self: Any, what: Any) -> None:
        if any(type(change).__name__ == "Insert" for change in what.unit):
            what.settle(Applied())
            what = evolve(what, settle=lambda answer: None)
        await write(self, what)

    return early


def one_retry_too_many(in_force: Any) -> Any:
    def more(task: Any, policy: Any) -> Any:
        retries, timeout = in_force(task, policy)
        return retries + 1, timeout

    return more


def backoff_from_the_start(judged: Any) -> Any:
    def early(task: Any, outcome: Any, policy: Any, now: int, chance: float) -> Any:
        return judged(task, outcome, policy, task.started_at, chance)

    return early


def priority_ignored(order: Any) -> Any:
    return lambda entry: (0, entry.due_at, entry.id)


def a_lost_wake_up(wake_at: Any) -> Any:
    def sleepy(self: Any, now: int) -> Any:
        at = wake_at(self, now)
        return None if at is not None and at % 7 == 0 else at

    return sleepy


def one_more(number: Any) -> Any:
    return lambda self, now: number(self, now) + 1


def never(anything: Any) -> Any:
    return lambda *arguments: False


def retry_after_ignored(judge: Any) -> Any:
    return lambda response, now: evolve(judge(response, now), retry_after=None)


def newest_first(place: Any) -> Any:
    return lambda sequence, status: (status is Status.PENDING, -sequence)


def answered_and_not_done(remove: Any) -> Any:
    return lambda self, message: message.reply.set(None)


def beyond_the_horizon(add: Any) -> Any:
    def stale(self: Any, entry: Any) -> bool:
        self.heap.push(entry)
        return bool(len(self.heap) > self._bound)

    return stale


def nothing_done(anything: Any) -> Any:
    async def nothing(*arguments: Any) -> None:
        await trio.lowlevel.checkpoint()

    return nothing


def without_a_deadline(run_attempt: Any) -> Any:
    async def patient(runner: Any, delivery: Any) -> Any:
        return await run_attempt(runner, evolve(delivery, timeout=1e6))

    return patient


def nobody_is_told(told: Any) -> Any:
    return lambda self, end: None


PLANTED = [
    Planted(
        "acknowledged before the commit",
        "aq.actors.committer:Committer.write",
        acknowledged_before_the_commit,
        ("durable before it is acknowledged", "no delivery without a start", "no start of what is gone"),
    ),
    Planted("one retry too many", "aq.lifecycle:in_force", one_retry_too_many, ("attempts",)),
    Planted("backoff from the start", "aq.lifecycle:_judged", backoff_from_the_start, ("backoff",)),
    Planted("Retry-After ignored", "aq.delivery.webhook:judge", retry_after_ignored, ("backoff", "hold")),
    Planted("priority ignored", "aq.actors.agenda:running_order", priority_ignored, ("order",)),
    Planted("a stale spill", "aq.actors.heap:Spilling.add", beyond_the_horizon, ("order", "late")),
    Planted("a lost wake-up", "aq.actors.agenda:Agenda.wake_at", a_lost_wake_up, ("late",)),
    Planted("a slot too many", "aq.actors.gate:Gate.most", one_more, ("concurrency",)),
    Planted("a token too many", "aq.actors.bucket:TokenBucket.available", one_more, ("rate limit",)),
    Planted("a destination never full", "aq.actors.gate:Gate.is_full", never, ("destination concurrency",)),
    Planted("holds forgotten", "aq.actors.holds:Holds.hold", never, ("hold",)),
    Planted("expiry forgotten", "aq.actors.expiry:Expiry.run", nothing_done, ("late",)),
    Planted(
        "a key out of order", "aq.storage.ordering:_place", newest_first, ("ordering key", "counts are true")
    ),
    Planted(
        "deleted, it is said",
        "aq.actors.removal:Removal.remove",
        answered_and_not_done,
        ("durable before it is acknowledged",),
    ),
    Planted("no recovery", "aq.actors.attempts:Attempts.recover", nothing_done, ("everything ends",)),
    Planted("no deadline", "aq.actors.attempts:run_attempt", without_a_deadline, ("late",)),
    Planted("callbacks unheard of", "aq.actors.ends:Ends.told", nobody_is_told, ("late", "everything ends")),
    Planted("claims forgotten", "aq.claiming:KEPT", lambda kept: 0, ("same request, same task",)),
]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.name)
def test_it_is_found(plant: Planted) -> None:
    with planted(plant.where, plant.fault):
        for seed in range(WITHIN):
            violations = simulate(seed).violations
            if violations:
                break
        else:
            pytest.fail(f"not found within {WITHIN} seeds")
    assert {violation.promise for violation in violations} & set(plant.promises), violations[0]
