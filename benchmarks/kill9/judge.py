"""What was promised against what came of it, rule by rule. Pure: ledger and stored tasks in, faults out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from aq.instants import SECOND
from aq.lifecycle import UNKNOWNS_FORGIVEN
from aq.outcome import AttemptStatus
from aq.storage.answers import StoredTask
from aq.task import Attempt, FailureReason, Status
from benchmarks.kill9.ledger import RETRY_DELAY, TIMEOUT, Arrival, Death, Ledger, Made

SLACK = 0.002
"""Seconds that two clocks read one after the other may differ by."""
Faults = Iterator[tuple[str, str]]


def judge(ledger: Ledger, kept: Mapping[str, StoredTask]) -> list[tuple[str, str]]:
    """Each fault: the rule that was broken, and a line. ``kept`` are all tasks of the store, by id."""
    return [
        *ledger.faults,
        *_lost(ledger, kept),
        *_uninvited(ledger, kept),
        *_deliveries(ledger, kept),
        *_attempts(ledger, kept),
        *_lines(ledger, kept),
        *_rhythms(ledger, kept),
        *_ends(ledger),
    ]


def _lost(ledger: Ledger, kept: Mapping[str, StoredTask]) -> Faults:
    for made in ledger.made.values():
        stored = kept.get(made.id)
        if made.deleted_at < math.inf:
            if stored is not None:
                yield "deleted and there again", made.id
        elif stored is None:
            if not made.deleting:
                yield "acknowledged and lost", made.id
        elif not stored.task.status.final:
            yield "acknowledged and never ended", f"{made.id} is {stored.task.status}"
        elif made.completed_at < math.inf and stored.task.status is not Status.COMPLETED:
            yield "completed and then not", f"{made.id} is {stored.task.status}"


def _uninvited(ledger: Ledger, kept: Mapping[str, StoredTask]) -> Faults:
    """Tasks that nobody was told of: at most those whose request was not answered; batches are whole."""
    others = [
        stored.task
        for task_id, stored in kept.items()
        if task_id not in ledger.made and stored.task.options.schedule_id is None
    ]
    if len(others) > ledger.unanswered:
        yield "made twice", f"{len(others)} tasks that nobody knows, {ledger.unanswered} not answered"
    sizes = Counter(tag for task in others for tag in task.options.tags)
    for tag, size in sizes.items():
        if size != ledger.batches[tag]:
            yield "a batch in part", f"{tag}: {size} of {ledger.batches[tag]}"


def _deliveries(ledger: Ledger, kept: Mapping[str, StoredTask]) -> Faults:
    for task_id, arrivals in ledger.arrivals.items():
        made = ledger.made.get(task_id)
        if made is not None:
            yield from _in_time(made, arrivals)
        for number, times in Counter(arrival.attempt for arrival in arrivals).items():
            if times > 1:
                yield "one attempt delivered twice", f"{task_id} attempt {number}"
        if (stored := kept.get(task_id)) is None:
            continue
        known = {attempt.number: attempt for attempt in stored.attempts}
        for arrival in arrivals:
            attempt = known.get(arrival.attempt)
            if attempt is None:
                yield "a delivery without an attempt", f"{task_id} attempt {arrival.attempt}"
            elif attempt.status is AttemptStatus.SUCCESS and arrival.status != 200:
                yield "a success that was none", f"{task_id} attempt {arrival.attempt}: {arrival.status}"


def _in_time(made: Made, arrivals: list[Arrival]) -> Faults:
    first, last = arrivals[0].at, arrivals[-1].at
    if first < made.due_at - SLACK:
        yield "early", f"{made.id} {made.due_at - first:.3f} s"
    if last > made.deleted_at:
        yield "delivered after its deletion", made.id
    if last > made.completed_at:
        yield "delivered after it was completed", made.id


def _attempts(ledger: Ledger, kept: Mapping[str, StoredTask]) -> Faults:
    for task_id, stored in kept.items():
        attempts, made = stored.attempts, ledger.made.get(task_id)
        if [attempt.number for attempt in attempts] != [*range(1, len(attempts) + 1)]:
            yield "attempts with a hole", f"{task_id}: {[attempt.number for attempt in attempts]}"
        if any(attempt.status is AttemptStatus.SUCCESS for attempt in attempts[:-1]):
            yield "delivered after it was completed", f"{task_id}: attempts after a success"
        yield from _crashed(ledger, task_id, attempts)
        yield from _waits(task_id, attempts, made)
        if made is not None:
            yield from _as_often(made, stored)


def _crashed(ledger: Ledger, task_id: str, attempts: Sequence[Attempt]) -> Faults:
    """An attempt is unknown only because a life ended around it; one life, one attempt."""
    lives: Counter[int] = Counter()
    for attempt in attempts:
        if attempt.status is AttemptStatus.UNKNOWN:
            number = _life_at(ledger, attempt.executed_at / SECOND)
            lives[number] += 1
            if number < 0 or ledger.lives[number].death in (None, Death.TERM):
                yield "unknown without a crash", f"{task_id} attempt {attempt.number} in life {number}"
    if any(times > 1 for times in lives.values()):
        yield "attempts too often", f"{task_id}: two unknown attempts in one life"


def _life_at(ledger: Ledger, at: float) -> int:
    """Which life something was decided in, by its server's own clock: no life decides as it begins."""
    return max((number for number, life in enumerate(ledger.lives) if life.began <= at), default=-1)


def _waits(task_id: str, attempts: Sequence[Attempt], made: Made | None) -> Faults:
    """No retry before its wait is over; a retry by hand, and one after a crash, are due at once."""
    if made is not None and made.retries:
        return
    for before, after in pairwise(attempts):
        if before.status is not AttemptStatus.UNKNOWN:
            wait = (after.executed_at - before.executed_at - before.duration_us) / SECOND
            if wait < RETRY_DELAY - SLACK:
                yield "early", f"{task_id}: attempt {after.number} after {wait:.3f} s"


def _as_often(made: Made, stored: StoredTask) -> Faults:
    """At most max_retries + 1 attempts that count, for each allowance; so many if they were used up."""
    allowed = (made.body["max_retries"] + 1) * (made.retries + 1)
    counted = unknowns = 0
    for attempt in stored.attempts:
        unknowns = unknowns + 1 if attempt.status is AttemptStatus.UNKNOWN else 0
        counted += not 0 < unknowns <= UNKNOWNS_FORGIVEN
    if counted > allowed:
        yield "attempts too often", f"{made.id}: {counted} of {allowed}"
    if stored.task.failure_reason is FailureReason.EXHAUSTED and counted < allowed:
        yield "given up too early", f"{made.id}: {counted} of {allowed}"


def _lines(ledger: Ledger, kept: Mapping[str, StoredTask]) -> Faults:
    """Tasks of one ordering key: in the order of their creation, one at a time.

    Of two that were asked for at once the later may be there first, and run: then it was started before the
    other was acknowledged.
    """
    lines: defaultdict[tuple[str, str], list[Arrival]] = defaultdict(list)
    for made in ledger.made.values():
        if made.line is not None:
            lines[made.line] += ledger.arrivals.get(made.id, [])
    for line, arrivals in lines.items():
        arrivals.sort(key=lambda arrival: arrival.at)
        for before, after in pairwise(arrivals):
            started = _started(before, kept)
            overtaken = ledger.made[after.task_id].acknowledged_at < started - SLACK
            if after.task_id < before.task_id and overtaken:
                yield "an ordering key out of order", f"{line}: {after.task_id} after {before.task_id}"
            number = _life_at(ledger, started)  # what a server sent may be read when it is dead already
            over = min(before.over, ledger.lives[number].over, started + TIMEOUT)
            if after.at < over - SLACK:
                yield "an ordering key two at a time", f"{line}: {after} beside {before}, life {number}"


def _started(arrival: Arrival, kept: Mapping[str, StoredTask]) -> float:
    """When its start was decided; as it arrived, where that is not on record."""
    stored = kept.get(arrival.task_id)
    known = {} if stored is None else {one.number: one.executed_at / SECOND for one in stored.attempts}
    return known.get(arrival.attempt, arrival.at)


def _rhythms(ledger: Ledger, kept: Mapping[str, StoredTask]) -> Faults:
    """Each slot, from the first to one of the last life, has exactly one task."""
    for rhythm in ledger.rhythms:
        options = [stored.task.options for stored in kept.values()]
        slots = Counter(
            round(((one.slot or 0) / SECOND - rhythm.created_at) / rhythm.every)
            for one in options
            if one.schedule_id == rhythm.id
        )
        last = max(slots, default=0)
        wrong = [slot for slot in {*range(1, last + 1), *slots} if slots[slot] != 1]
        if wrong or rhythm.created_at + last * rhythm.every < ledger.lives[-1].began - SLACK:
            yield "a slot of a schedule not once", f"{rhythm.queue}: {sorted(wrong)[:9]}, the last is {last}"


def _ends(ledger: Ledger) -> Faults:
    """A SIGTERM ends a life in good order: exit code 0, and the last word on each event stream."""
    for number, life in enumerate(ledger.lives):
        if life.death is Death.TERM:
            if life.exit_code != 0:
                yield "SIGTERM in bad order", f"life {number}: exit code {life.exit_code}"
            if not all(life.streams):
                yield "SIGTERM in bad order", f"life {number}: an event stream without its last word"
        if life.death is Death.TWICE and life.exit_code not in (0, 1):
            yield "SIGTERM in bad order", f"life {number}: exit code {life.exit_code} after two signals"
