"""Slips in what starts, when, and in which order: agenda, gate, holds, starts, purges."""

from __future__ import annotations

from typing import Any, Final

from aq.storage.answers import Applied, Entry
from aq.task import Status
from tests.sim.mutants.mutant import Mutant, never, nothing, nothing_done, one_more


def without_priority(order: Any) -> Any:
    return lambda entry: (0, entry.due_at, entry.id)


def beyond_the_horizon(add: Any) -> Any:
    def stale(self: Any, entry: Entry) -> bool:
        self.heap.push(entry)
        return bool(len(self.heap) > self._bound)

    return stale


def asleep(wake_at: Any) -> Any:
    def sleepy(self: Any, now: int) -> Any:
        at = wake_at(self, now)
        return None if at is not None and at % 7 == 0 else at

    return sleepy


def the_second_timer(next_change: Any) -> Any:
    def second(self: Any) -> Any:
        times = sorted(entry.due_at for entry in self._delayed.heap)
        return times[1] if len(times) > 1 else next_change(self)

    return second


def whatever_the_pause(adopt: Any) -> Any:
    def unpaused(self: Any, policy: Any, now: int) -> None:
        adopt(self, policy, now)
        self._slots = policy.concurrency

    return unpaused


def full_at_first(idle_since: Any) -> Any:
    def full(self: Any, instant: int) -> None:
        idle_since(self, instant)
        self._empty_at -= self._burst * self._interval

    return full


def without_expiry(take: Any) -> Any:
    def taken(self: Any, now: int, room: int) -> list[Entry]:
        found: list[Entry] = []
        while len(found) < room and len(self._ready.heap):
            entry = self._ready.heap.pop()
            self.running[entry.id] = entry.destination
            found.append(entry)
        return found

    return taken


def before_it_is_durable(start: Any) -> Any:
    def early(self: Any, task_id: str, now: int, begun: Any) -> bool:
        def at_once(task: Any, payload: bytes) -> Any:
            begun(task, payload)(Applied())
            return lambda answer: None

        return bool(start(self, task_id, now, at_once))

    return early


def though_refused(begun_fresh: Any) -> Any:
    def begun(self: Any, task: Any, payload: bytes) -> Any:
        heard = begun_fresh(self, task, payload)
        return lambda answer: heard(answer if isinstance(answer, Exception) else Applied())

    return begun


def in_the_sandbox_too(add: Any) -> Any:
    def added(self: Any, entries: Any) -> None:
        for entry in entries:
            self.agenda.add(entry, self.now)

    return added


def but_the_retry(resume: Any) -> Any:
    def resumed(self: Any) -> None:
        queue = self._record.queue
        if queue is None or queue.revival is None:
            resume(self)

    return resumed


def newest_first(place: Any) -> Any:
    return lambda sequence, status: (status is Status.PENDING, -sequence)


def retries_stand_back(contender: Any) -> Any:
    def fresh(self: Any, sequence: int) -> Any:
        task = contender(self, sequence)
        return None if task is not None and task.status is Status.PENDING and task.failures else task

    return fresh


ORDER: Final = ("order", "late")
STARTING: Final = [
    Mutant(
        name="priority ignored",
        slip="due tasks go by their age alone",
        where="aq.actors.agenda:running_order",
        fault=without_priority,
        promises=("order",),
    ),
    Mutant(
        name="a stale spill",
        slip="a newcomer beyond the horizon of the window is kept in memory",
        where="aq.actors.heap:Spilling.add",
        fault=beyond_the_horizon,
        promises=ORDER,
        first=40,
    ),
    Mutant(
        name="a lost wake-up",
        slip="one timer in seven is not set",
        where="aq.actors.agenda:Agenda.wake_at",
        fault=asleep,
        promises=("late",),
    ),
    Mutant(
        name="the second timer",
        slip="the wake-up is that of the second delayed task",
        where="aq.actors.agenda:Agenda._next_change",
        fault=the_second_timer,
        promises=("late",),
        first=20,
    ),
    Mutant(
        name="a slot too many",
        slip="one more attempt than the queue's concurrency",
        where="aq.actors.gate:Gate.most",
        fault=one_more,
        promises=("concurrency",),
    ),
    Mutant(
        name="a token too many",
        slip="the rate limit lets one more through",
        where="aq.actors.bucket:TokenBucket.available",
        fault=one_more,
        promises=("rate limit",),
    ),
    Mutant(
        name="a full bucket at first",
        slip="after a restart the rate limit begins with its burst",
        where="aq.actors.bucket:TokenBucket.idle_since",
        fault=full_at_first,
        promises=("rate limit",),
    ),
    Mutant(
        name="pause ignored",
        slip="a paused queue keeps its slots",
        where="aq.actors.gate:Gate.adopt",
        fault=whatever_the_pause,
        promises=("pause",),
    ),
    Mutant(
        name="a destination never full",
        slip="destination_concurrency is not looked at",
        where="aq.actors.gate:Gate.is_full",
        fault=never,
        promises=("destination concurrency",),
    ),
    Mutant(
        name="holds forgotten",
        slip="a destination that asked for a pause gets none",
        where="aq.actors.holds:Holds.hold",
        fault=nothing,
        promises=("hold",),
        first=20,
    ),
    Mutant(
        name="no probe",
        slip="after a pause all go at once",
        where="aq.actors.holds:Holds.starting",
        fault=nothing,
        promises=("one probe",),
        first=20,
    ),
    Mutant(
        name="expired and started",
        slip="neither the agenda nor anybody before it looks at expires_at",
        where="aq.actors.agenda:Agenda._take_plainly",
        fault=without_expiry,
        also=(("aq.actors.expiry:Expiry.run", nothing_done),),
        promises=("no start after expiry",),
        first=30,
    ),
    Mutant(
        name="sent before its start",
        slip="the request leaves while its start is being committed",
        where="aq.actors.arrivals:Arrivals.start",
        fault=before_it_is_durable,
        promises=("no delivery without a start", "no start of what is gone"),
    ),
    Mutant(
        name="sent though refused",
        slip="a start that the storage has refused is delivered",
        where="aq.actors.attempts:Attempts._begun_fresh",
        fault=though_refused,
        promises=("no start of what is gone",),
        first=60,
    ),
    Mutant(
        name="a sandbox task delivered",
        slip="the environment is not looked at",
        where="aq.actors.desk:Desk.add",
        fault=in_the_sandbox_too,
        promises=("sandbox",),
    ),
    Mutant(
        name="started after a purge",
        slip="what is in memory stays there when a purge is acknowledged",
        where="aq.actors.agenda:Agenda.clear",
        fault=nothing,
        promises=("no start after a purge",),
        first=45,
    ),
    Mutant(
        name="a purge not gone on with",
        slip="after a restart nobody sweeps what a purge has covered",
        where="aq.actors.chores:Chores.resume",
        fault=nothing,
        promises=("everything ends",),
    ),
    Mutant(
        name="a bulk retry not gone on with",
        slip="after a restart nobody retries what is left of it",
        where="aq.actors.chores:Chores.resume",
        fault=but_the_retry,
        promises=("everything ends",),
    ),
    Mutant(
        name="expiry forgotten",
        slip="nobody puts the end of a task whose time ran out",
        where="aq.actors.expiry:Expiry.run",
        fault=nothing_done,
        promises=("late",),
    ),
    Mutant(
        name="expiry unnoticed",
        slip="the time limit of a new task sets no timer",
        where="aq.actors.desk:Desk.note_expiry",
        fault=nothing,
        promises=("late",),
        first=10,
    ),
    Mutant(
        name="a key out of order",
        slip="the youngest task of an ordering key goes first",
        where="aq.storage.ordering:_place",
        fault=newest_first,
        promises=("ordering key", "counts are true"),
    ),
    Mutant(
        name="a key released by a failure",
        slip="a task that waits for its retry lets the next of its ordering key go",
        where="aq.storage.ordering:Line._contender",
        fault=retries_stand_back,
        promises=("ordering key", "counts are true"),
    ),
]
