"""The agenda against a model that knows every task and sorts them all, each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aq.actors.agenda import Agenda, Standing
from aq.actors.heap import IndexedHeap, due_order, running_order
from aq.actors.holds import FOREVER, Holds
from aq.actors.lanes import ASIDE, MOST_ASIDE
from aq.instants import SECOND
from aq.policy import QueuePolicy, RateLimit
from aq.storage.answers import Aside, Entry, Window

WINDOW = 3
HALF = SECOND // 2
SHOPS = ("https://a", "https://b", "https://c", "https://d")
DESTINATIONS = st.sampled_from(SHOPS)
SPANS = st.sampled_from([0, 0, HALF, SECOND, 3 * SECOND])
RETRY_AFTER = st.sampled_from([None, None, 0, SECOND, 3 * SECOND])
RATES = st.sampled_from([None, None, RateLimit(1, 2), RateLimit(2, 1), RateLimit(0.5, 3), RateLimit(2, 5)])
CAPS = st.sampled_from([None, None, 1, 2])


def head(
    waiting: Iterable[Entry], now: int, limit: int, aside: Sequence[str] = (), aside_limit: int = 0
) -> Window:
    """What a storage answers by rule 12."""
    due = sorted((e for e in waiting if e.due_at <= now), key=running_order)
    upcoming = sorted((e for e in waiting if e.due_at > now), key=due_order)
    apart = {shop: [e for e in due if e.destination == shop] for shop in aside}
    due = [e for e in due if e.destination not in apart]
    return Window(
        due[:limit],
        len(due) <= limit,
        upcoming[:limit],
        len(upcoming) <= limit,
        {shop: Aside(tasks[:aside_limit], len(tasks) <= aside_limit) for shop, tasks in apart.items()},
    )


class PlainBucket:
    """A rate limit in fractions of a token."""

    def __init__(self, limit: RateLimit, now: int) -> None:
        self.limit, self.level, self.at = limit, Fraction(0), now

    def tokens(self, now: int) -> Fraction:
        rate = Fraction(self.limit.per_second) / SECOND
        return min(Fraction(self.limit.burst or 0), self.level + rate * (now - self.at))

    def change(self, now: int, *, taken: int = 0, limit: RateLimit | None = None) -> None:
        self.level = self.tokens(now) - taken
        self.at, self.limit = now, limit or self.limit
        self.level = min(self.level, Fraction(self.limit.burst or 0))


class AgendaMachine(RuleBasedStateMachine):
    """Whatever was submitted, started, finished, retried, deleted, held: what starts is what sorting says."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.holds = Holds()
        self.holds.watch(self.wake)
        self.agenda = Agenda(window=WINDOW, holds=self.holds, now=0)
        self.stored: dict[str, Entry] = {}
        self.running: dict[str, Entry] = {}
        self.elsewhere: dict[str, str] = {}
        self.bucket: PlainBucket | None = None
        self.minted = 0
        self.woken = False
        self.configure(2, False, None, None)

    def wake(self) -> None:
        self.woken = True

    # -- the model ------------------------------------------------------------------------------------------
    def expected(self, now: int, room: int = 99) -> list[Entry]:
        """What would start."""
        if self.policy.paused:
            return []
        room = min(room, self.policy.concurrency - len(self.running))
        if self.bucket is not None:
            room = min(room, int(self.bucket.tokens(now)))
        most = self.policy.destination_concurrency
        there = Counter(entry.destination for entry in self.running.values())
        starting: list[Entry] = []
        for entry in self.due(now):
            shop = entry.destination
            probed = shop in self.holds.held and any(e.destination == shop for e in starting)
            full = most is not None and there[shop] >= most
            if len(starting) < room and not probed and not full and not self.is_held(shop, now):
                starting.append(entry)
                there[shop] += 1
        return starting

    def due(self, now: int) -> list[Entry]:
        due = [e for e in self.stored.values() if e.due_at <= now and not self.has_expired(e, now)]
        return sorted(due, key=running_order)

    def is_held(self, shop: str, now: int) -> bool:
        return self.holds.blocked_until(shop, now) is not None

    def has_expired(self, entry: Entry, now: int) -> bool:
        return entry.expires_at is not None and entry.expires_at <= now

    def next_start(self) -> int | None:
        """The first moment at which something would start by time alone."""
        times = {self.now, *(entry.due_at for entry in self.stored.values())}
        times |= {self.holds.blocked_until(shop, self.now) or 0 for shop in SHOPS}
        times |= {self.now + HALF * n for n in range(5)}  # a token comes within two seconds
        for moment in sorted(times):
            if self.now <= moment < FOREVER and self.expected(moment):
                return moment
        return None

    # -- what happens ---------------------------------------------------------------------------------------
    @rule(
        priority=st.integers(1, 3),
        delay=SPANS,
        shop=DESTINATIONS,
        lifetime=st.sampled_from([None, None, None, SECOND, 2 * SECOND]),
    )
    def submit(self, priority: int, delay: int, shop: str, lifetime: int | None) -> None:
        self.minted += 1
        expires_at = None if lifetime is None else self.now + delay + lifetime
        self.wait(Entry(f"{self.minted:06}", priority, self.now + delay, 1, shop, expires_at))

    @rule(
        tasks=st.lists(st.tuples(st.integers(1, 3), SPANS, DESTINATIONS), min_size=5, max_size=16),
        alike=st.booleans(),
    )
    def burst(self, tasks: list[tuple[int, int, str]], alike: bool) -> None:
        """More at once than a window holds, in either heap, or in one lane: they spill."""
        for priority, delay, shop in tasks:
            self.submit(priority, delay, tasks[0][2] if alike else shop, None)

    def wait(self, entry: Entry) -> None:
        self.stored[entry.id] = entry
        self.agenda.add(entry, self.now)

    @rule(span=st.sampled_from([HALF, SECOND, 2 * SECOND, 5 * SECOND]))
    def time_passes(self, span: int) -> None:
        self.now += span

    @rule(span=st.sampled_from([0, HALF, SECOND, 3 * SECOND]))
    def settle_down(self, span: int) -> None:
        """Once all that runs has ended well, and some time has passed."""
        for name in sorted(self.running):
            entry = self.running.pop(name)
            self.agenda.finish(name)
            self.holds.ended(entry.destination, name, self.now, None)
        self.now += span
        self.turn(99, None)

    @rule(shop=DESTINATIONS, span=st.sampled_from([SECOND, 3 * SECOND]), room=st.sampled_from([0, 99]))
    def hold(self, shop: str, span: int, room: int) -> None:
        """Another queue's attempt was told to wait."""
        self.holds.hold(shop, self.now + span)
        self.turn(room, None)

    @rule(room=st.sampled_from([0, 1, 2, 99, 99, 99]), held_meanwhile=st.none() | DESTINATIONS)
    def turn(self, room: int, held_meanwhile: str | None) -> None:
        """As the supervisor does it: load, start. A window may give fewer at once, never others."""
        unknown_ends = any(self.has_expired(entry, self.now) for entry in self.stored.values())
        self.load(held_meanwhile)
        expected = self.expected(self.now, room)
        started: list[Entry] = []
        while len(started) < len(expected) and (startable := self.agenda.startable(self.now)):
            batch = self.agenda.start(self.now, min(startable, len(expected) - len(started)))
            assert 0 < len(batch) <= startable
            for entry in batch:
                self.running[entry.id] = self.stored.pop(entry.id)
            if self.bucket is not None:
                self.bucket.change(self.now, taken=len(batch))
            started += batch
            self.load()
        if unknown_ends:  # they may fill the window, until they are removed
            assert started == expected[: len(started)]
        else:
            assert started == expected
            self.is_never_late()

    def load(self, held_meanwhile: str | None = None) -> None:
        """While storage reads, another queue's attempts may end."""
        loads = 0
        while self.agenda.needs_load(self.now):
            aside, limit = self.agenda.aside(), self.agenda.aside_limit
            assert len(aside) == len(set(aside))
            window = head(self.stored.values(), self.now, WINDOW, aside, limit)
            if held_meanwhile is not None and loads == 0:
                self.holds.hold(held_meanwhile, self.now + SECOND)
                while self.elsewhere:
                    task_id, shop = self.elsewhere.popitem()
                    self.holds.ended(shop, task_id, self.now, None)
            self.agenda.load(window, self.now)
            loads += 1
            assert loads <= len(SHOPS) + 2, "it loads again and again"

    def is_never_late(self) -> None:
        """All that may start has been started as far as there was room; it looks again in time."""
        assert bool(self.agenda.startable(self.now)) == bool(self.expected(self.now))
        assert self.agenda.start(self.now, 0) == []
        wake_at, next_start = self.agenda.wake_at(self.now), self.next_start()
        assert wake_at is None or wake_at > self.now
        if next_start is not None and next_start > self.now:
            assert wake_at is not None
            assert wake_at <= next_start

    @rule()
    def expire(self) -> None:
        for entry in list(self.stored.values()):
            if self.has_expired(entry, self.now):
                del self.stored[entry.id]
                self.agenda.remove(entry.id)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), retry_in=st.sampled_from([None, 0, SECOND]), retry_after=RETRY_AFTER)
    def finish(self, data: st.DataObject, retry_in: int | None, retry_after: int | None) -> None:
        entry = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.agenda.finish(entry.id)
        self.holds.ended(entry.destination, entry.id, self.now, retry_after)
        if retry_in is not None:
            self.wait(entry._replace(due_at=self.now + retry_in, version=entry.version + 2))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        """The storage refused a start: the task was deleted."""
        entry = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.agenda.finish(entry.id)
        self.holds.abandoned(entry.id)

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.stored)))
        del self.stored[task_id]
        self.agenda.remove(task_id)

    @rule(data=st.data())
    def tell_again(self, data: st.DataObject) -> None:
        """What is known already, or runs."""
        known = {**self.stored, **self.running}
        if known:
            self.agenda.add(known[data.draw(st.sampled_from(sorted(known)))], self.now)

    @rule(
        concurrency=st.integers(1, 9),
        paused=st.sampled_from([False, False, False, False, True]),
        cap=CAPS,
        rate=RATES,
    )
    def configure(self, concurrency: int, paused: bool, cap: int | None, rate: RateLimit | None) -> None:
        self.policy = QueuePolicy(
            concurrency=concurrency, paused=paused, destination_concurrency=cap, rate_limit=rate
        )
        self.agenda.adopt(self.policy, self.now)
        if rate is None:
            self.bucket = None
        elif self.bucket is None:
            self.bucket = PlainBucket(rate, self.now)
        else:
            self.bucket.change(self.now, limit=rate)

    @rule(what=st.sampled_from([*("nothing",) * 5, "doubt", "clear"]))
    def forget(self, what: str) -> None:
        """Seldom: it would hide what was wrong before."""
        if what == "doubt":
            self.agenda.invalidate()
        elif what == "clear":
            self.stored.clear()
            self.agenda.clear()

    # -- what other queues do -------------------------------------------------------------------------------
    @rule(shop=DESTINATIONS)
    def another_starts(self, shop: str) -> None:
        if not self.is_held(shop, self.now):
            self.minted += 1
            self.elsewhere[f"{self.minted:06}"] = shop
            self.holds.starting(shop, f"{self.minted:06}", self.now)

    @precondition(lambda self: self.elsewhere)
    @rule(data=st.data(), retry_after=RETRY_AFTER, heard=st.booleans())
    def another_ends(self, data: st.DataObject, retry_after: int | None, heard: bool) -> None:
        """If a task may start sooner by it, the agenda's owner is woken."""
        task_id = data.draw(st.sampled_from(sorted(self.elsewhere)))
        before, self.woken = self.next_start(), False
        if heard:
            self.holds.ended(self.elsewhere.pop(task_id), task_id, self.now, retry_after)
        else:
            self.elsewhere.pop(task_id)
            self.holds.abandoned(task_id)
        after = self.next_start()
        if after is not None and (before is None or after < before):
            assert self.woken

    # -- what always holds ----------------------------------------------------------------------------------
    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.agenda.waiting <= 4 * WINDOW + 2 * max(WINDOW, len(SHOPS))

    @invariant()
    def slots_are_counted(self) -> None:
        assert self.agenda.running == {e.id: e.destination for e in self.running.values()}

    @invariant()
    def it_retires_when_all_is_forgotten(self) -> None:
        rests_at = self.agenda.rests_at(self.now)
        assert self.agenda.at_rest(self.now) == (rests_at == self.now)
        if rests_at is not None:
            assert not self.running
            assert not any(not self.has_expired(entry, self.now) for entry in self.stored.values())
            if self.bucket is not None:
                assert self.bucket.tokens(rests_at) == self.bucket.limit.burst
                assert rests_at == self.now or self.bucket.tokens(rests_at - 1) < self.bucket.tokens(rests_at)

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def explain(self, data: st.DataObject) -> None:
        entry = self.stored[data.draw(st.sampled_from(sorted(self.stored)))]
        standing = self.agenda.explain(entry, self.now)
        most = self.policy.destination_concurrency
        there = Counter(e.destination for e in self.running.values())
        rivals = [
            e
            for e in self.due(self.now)
            if running_order(e) < running_order(entry)
            and not self.is_held(e.destination, self.now)
            and not (most is not None and there[e.destination] >= most)
        ]
        assert standing.paused == self.policy.paused
        assert standing.waits_for_slot == (len(self.running) >= self.policy.concurrency)
        assert standing.held_until == self.holds.blocked_until(entry.destination, self.now)
        assert standing.destination_full == (most is not None and there[entry.destination] >= most)
        assert (standing.token_at is None) == (self.bucket is None or self.bucket.tokens(self.now) >= 1)
        assert standing.ahead <= len(rivals)
        if standing.ahead_is_exact:
            assert standing.ahead == len(rivals)


AgendaMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestAgenda = AgendaMachine.TestCase


class HeapMachine(RuleBasedStateMachine):
    """The indexed heap against a dict that is sorted each time."""

    def __init__(self) -> None:
        super().__init__()
        self.heap = IndexedHeap(running_order)
        self.model: dict[str, Entry] = {}

    @rule(number=st.integers(0, 30), priority=st.integers(1, 3), due_at=st.integers(0, 5))
    def push(self, number: int, priority: int, due_at: int) -> None:
        entry = Entry(f"{number:02}", priority, due_at, 1, SHOPS[0])
        self.model[entry.id] = entry
        self.heap.push(entry)

    @rule(number=st.integers(0, 30))
    def discard(self, number: int) -> None:
        there = self.model.pop(f"{number:02}", None) is not None
        assert self.heap.discard(f"{number:02}") is there

    @precondition(lambda self: self.model)
    @rule()
    def pop(self) -> None:
        first = min(self.model.values(), key=running_order)
        assert self.heap.peek() == first
        assert self.heap.pop() == self.model.pop(first.id)

    @precondition(lambda self: not self.model)
    @rule()
    def pop_from_nothing(self) -> None:
        with pytest.raises(IndexError):
            self.heap.pop()

    @precondition(lambda self: self.model)
    @rule(keep=st.integers(1, 10))
    def trim(self, keep: int) -> None:
        kept = sorted(self.model.values(), key=running_order)[:keep]
        assert self.heap.trim(keep) == kept[-1]
        self.model = {entry.id: entry for entry in kept}

    @invariant()
    def same_members(self) -> None:
        assert len(self.heap) == len(self.model)
        assert set(self.heap) == set(self.model.values())

    @invariant()
    def removed_entries_do_not_pile_up(self) -> None:
        assert len(self.heap._heap) <= 2 * len(self.model) + 16


HeapMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestHeap = HeapMachine.TestCase


# -- plain examples -----------------------------------------------------------------------------------------
DEAD, FINE = "https://dead", "https://fine"


def task(name: str | int, shop: str = FINE, *, priority: int = 5, due_at: int = 0) -> Entry:
    return Entry(f"{name:06}" if isinstance(name, int) else name, priority, due_at, 1, shop)


class Stored:
    """A queue whose tasks are in storage, run as its supervisor does. Counts what loading costs."""

    def __init__(self, *tasks: Entry, window: int = WINDOW, **policy: Any) -> None:
        self.tasks = {entry.id: entry for entry in tasks}
        self.holds = Holds()
        self.agenda = Agenda(window=window, holds=self.holds, now=0)
        self.window = window
        self.loads = self.entries_read = 0
        self.configure(0, **policy)

    def configure(self, now: int, **policy: Any) -> None:
        self.agenda.adopt(QueuePolicy(**policy), now)

    def add(self, entry: Entry, now: int = 0) -> None:
        self.tasks[entry.id] = entry
        self.agenda.add(entry, now)

    def load(self, now: int) -> None:
        aside, limit = self.agenda.aside(), self.agenda.aside_limit
        window = head(self.tasks.values(), now, self.window, aside, limit)
        self.loads += 1
        self.entries_read += len(window.due) + len(window.upcoming)
        self.entries_read += sum(len(lane.due) for lane in window.aside.values())
        self.agenda.load(window, now)

    def turn(self, now: int = 0) -> list[str]:
        """The names of those that start."""
        while self.agenda.needs_load(now):
            self.load(now)
        started = [entry.id for entry in self.agenda.start(now, self.agenda.startable(now))]
        for name in started:
            del self.tasks[name]
        return started

    def end(self, name: str, now: int = 0, retry_after: int | None = None) -> None:
        shop = self.agenda.running[name]
        self.agenda.finish(name)
        self.holds.ended(shop, name, now, retry_after)


def test_a_newcomer_beyond_the_horizon_waits_for_those_left_in_storage() -> None:
    queue = Stored(*(task(number) for number in range(6)))
    queue.load(0)
    queue.add(task("worse", priority=1))
    assert queue.turn() == ["000000", "000001", "000002"]
    assert queue.agenda.needs_load(0)
    assert queue.agenda.wake_at(0) == 0
    assert queue.turn() == ["000003", "000004", "000005"]
    assert queue.turn() == ["worse"]


def test_what_is_due_in_storage_is_loaded_before_the_next_start() -> None:
    backlog = [task(number, priority=1, due_at=5) for number in range(3)]
    queue = Stored(*backlog, task("urgent", priority=9, due_at=6), concurrency=1)
    queue.load(0)
    assert queue.agenda.wake_at(0) == 5
    assert not queue.agenda.needs_load(4)
    assert queue.agenda.needs_load(6)
    assert queue.turn(6) == ["urgent"]


def test_a_pause_lets_through_no_more_than_the_burst() -> None:
    queue = Stored(*(task(number) for number in range(10)), window=99, rate_limit=RateLimit(2, 3))
    assert queue.turn(0) == []
    assert queue.agenda.wake_at(0) == HALF
    assert queue.turn(100 * SECOND) == ["000000", "000001", "000002"]
    assert queue.turn(100 * SECOND) == []
    assert queue.agenda.wake_at(100 * SECOND) == 100 * SECOND + HALF
    assert queue.turn(100 * SECOND + HALF) == ["000003"]


def test_without_a_token_nothing_is_loaded_and_nobody_wakes_early() -> None:
    queue = Stored(task("soon", due_at=1), rate_limit=RateLimit(1, 1))
    assert not queue.agenda.needs_load(0)
    assert queue.agenda.wake_at(0) == SECOND
    queue.load(0)
    assert queue.agenda.wake_at(0) == SECOND
    assert queue.agenda.wake_at(2) == SECOND
    assert queue.turn(SECOND) == ["soon"]


def test_a_limit_that_appears_starts_empty_and_one_that_changes_keeps_what_is_there() -> None:
    queue = Stored(*(task(number) for number in range(9)), window=99, concurrency=99)
    queue.configure(SECOND, rate_limit=RateLimit(1, 5))
    assert queue.turn(SECOND) == []
    queue.configure(4 * SECOND, rate_limit=RateLimit(0.001, 2))
    assert len(queue.turn(4 * SECOND)) == 2
    queue.configure(5 * SECOND, rate_limit=None)
    assert len(queue.turn(5 * SECOND)) == 7


def test_a_successor_of_an_idle_queue_may_start_at_once() -> None:
    queue = Stored(*(task(number) for number in range(3)), rate_limit=RateLimit(1, 2))
    queue.agenda.idle_since(-60 * SECOND)
    assert queue.turn() == ["000000", "000001"]
    queue.configure(0)
    queue.agenda.idle_since(0)
    assert queue.turn() == ["000002"]


def test_after_a_hold_one_probe_goes_then_the_rest() -> None:
    queue = Stored(*(task(number, DEAD) for number in range(5)), task("other"), window=99)
    queue.holds.hold(DEAD, SECOND)
    assert queue.turn() == ["other"]
    assert queue.agenda.wake_at(0) == SECOND
    assert queue.turn(SECOND) == ["000000"]
    assert queue.turn(2 * SECOND) == []
    assert queue.agenda.wake_at(2 * SECOND) is None
    queue.end("000000", 2 * SECOND, retry_after=SECOND)
    assert queue.agenda.wake_at(2 * SECOND) == 3 * SECOND
    assert queue.turn(3 * SECOND) == ["000001"]
    queue.end("000001", 4 * SECOND)
    assert queue.turn(4 * SECOND) == ["000002", "000003", "000004"]


def test_of_two_queues_one_probes_and_wakes_the_other() -> None:
    one, other = Stored(task("a", DEAD)), Stored(task("b", DEAD))
    other.agenda = Agenda(window=WINDOW, holds=one.holds, now=0)
    woken: list[str] = []
    one.holds.watch(lambda: woken.append("other"))
    one.holds.hold(DEAD, SECOND)
    assert one.turn() == other.turn() == []
    assert one.turn(SECOND) == ["a"]
    assert other.turn(SECOND) == []
    assert other.agenda.wake_at(SECOND) is None
    one.end("a", 2 * SECOND)
    assert woken == ["other"]
    assert other.turn(2 * SECOND) == ["b"]


def test_a_dead_destination_with_any_number_of_tasks_costs_two_loads() -> None:
    dead = [task(number, DEAD, priority=9) for number in range(200_000)]
    queue = Stored(*dead, *(task(f"fine{number}") for number in range(10)), window=4_096)
    queue.holds.hold(DEAD, 60 * SECOND)
    assert queue.turn() == [f"fine{number}" for number in range(10)]
    assert queue.loads == 2
    assert queue.entries_read <= 4_096 + ASIDE + 10
    for number in range(1_000):
        queue.end(f"fine{number}", number)
        queue.add(task(f"fine{number + 10}", due_at=number), number)
        queue.add(task(f"dead{number}", DEAD, due_at=number), number)
        assert queue.turn(number) == [f"fine{number + 10}"]
    assert queue.loads == 2
    assert queue.agenda.waiting <= 2 * ASIDE


def test_as_many_attempts_at_a_destination_as_may_and_the_others_pass_by() -> None:
    queue = Stored(window=99, destination_concurrency=1)
    for number in range(3):
        queue.add(task(number, DEAD))
        queue.add(task(f"fine{number}", f"https://{number}", due_at=0, priority=1))
    assert queue.turn() == ["000000", "fine0", "fine1", "fine2"]
    assert queue.agenda.wake_at(0) is None
    queue.end("000000")
    assert queue.turn() == ["000001"]
    queue.configure(0, destination_concurrency=2)
    assert queue.turn() == ["000002"]


def test_a_newcomer_takes_its_place_among_those_aside() -> None:
    queue = Stored(window=99)
    queue.holds.hold(DEAD, SECOND)
    for number in range(2, 4):
        queue.add(task(number, DEAD, due_at=number), 5)
    assert queue.turn(5) == []
    queue.add(task("last", DEAD, due_at=4), 5)
    queue.add(task("first", DEAD, due_at=1), 5)
    queue.add(task("urgent", DEAD, due_at=5, priority=9), 5)
    order = []
    for moment in range(SECOND, SECOND + 5):
        order += (names := queue.turn(moment))
        assert len(names) == 1
        queue.end(names[0], moment, retry_after=0)
    assert order == ["urgent", "first", "000002", "000003", "last"]


def test_what_overflows_a_lane_is_loaded_when_its_turn_comes() -> None:
    queue = Stored(window=4_096, concurrency=1_000)
    queue.holds.hold(DEAD, SECOND)
    queue.holds.hold("https://dead-for-long", 60 * SECOND)
    queue.add(task("aside", "https://dead-for-long"))
    for number in range(500):
        queue.add(task(number, DEAD))
    assert queue.turn() == []
    assert queue.agenda.waiting <= 2 * ASIDE + 1
    queue.add(task("zz"))  # behind them all
    assert queue.turn() == ["zz"]
    assert queue.turn(SECOND) == ["000000"]
    queue.end("000000", SECOND)
    queue.add(task("zzz", due_at=1), SECOND)
    rest = []
    while names := queue.turn(SECOND):
        rest += names
    assert rest == [f"{number:06}" for number in range(1, 500)] + ["zzz"]


def test_what_a_load_left_aside_is_loaded_when_its_turn_comes() -> None:
    queue = Stored(*(task(number, DEAD) for number in range(100)), window=16)
    queue.holds.hold(DEAD, SECOND)
    assert queue.turn() == []
    order = queue.turn(SECOND)
    assert order == ["000000"]
    queue.end("000000", SECOND)
    queue.configure(SECOND, concurrency=200)
    while names := queue.turn(SECOND):
        order += names
    assert order == [f"{number:06}" for number in range(100)]


def test_what_a_lane_left_in_storage_comes_before_what_is_ready() -> None:
    queue = Stored(window=16, concurrency=1)
    queue.holds.hold(DEAD, SECOND)
    for numbers in (range(30), range(30, 40)):
        for number in numbers:
            queue.add(task(number, DEAD))
        assert queue.turn() == []
    queue.configure(0, concurrency=1, paused=True)
    for number in range(40):
        queue.add(task(f"x{number:02}"))
    queue.configure(0, concurrency=1)
    for number in range(40):
        assert queue.turn(SECOND) == [f"{number:06}"]
        queue.end(f"{number:06}", SECOND)
    assert queue.turn(SECOND) == ["x00"]


def test_lanes_share_a_window() -> None:
    queue = Stored(window=16, concurrency=1_000)
    for number in range(50):
        queue.holds.hold(f"https://{number}", SECOND)
    for round_ in range(40):
        for number in range(50):
            queue.add(task(50 * round_ + number, f"https://{number}"))
            assert queue.turn() == []
    assert queue.agenda.waiting <= 100
    order: list[str] = []
    while names := queue.turn(SECOND):
        order += names
        for name in names:
            queue.end(name, SECOND)
    assert order[:50] == [f"{number:06}" for number in range(50)]
    assert sorted(order) == [f"{number:06}" for number in range(2_000)]


def test_newcomers_of_a_destination_aside_push_nobody_out_of_memory() -> None:
    queue = Stored(task("aside", DEAD, priority=9), *(task(number) for number in range(10)), window=16)
    queue.configure(0, concurrency=1)
    queue.holds.hold(DEAD, SECOND)
    assert queue.turn() == ["000000"]
    for number in range(100, 200):
        queue.add(task(number, DEAD, priority=9))
    for number in range(1, 10):
        queue.end(f"{number - 1:06}")
        assert queue.turn() == [f"{number:06}"]
    assert queue.loads == 1


def test_a_lane_that_opens_waits_for_those_before_it_in_storage() -> None:
    queue = Stored(*(task(number) for number in range(9)), task("zz", DEAD))
    queue.holds.hold(DEAD, SECOND)
    queue.holds.starting(DEAD, "probe", SECOND)
    queue.add(task("early", DEAD, priority=9), SECOND)
    assert queue.turn(SECOND) == ["000000", "000001"]
    assert queue.turn(SECOND) == ["000002", "000003", "000004"]
    queue.holds.ended(DEAD, "probe", SECOND, None)
    assert queue.turn(SECOND) == ["early"]
    assert queue.turn(SECOND) == ["000005", "000006", "000007"]
    assert queue.turn(SECOND) == ["000008", "zz"]


def test_more_destinations_aside_than_a_load_leaves_out_end_no_turn() -> None:
    many = MOST_ASIDE + 100
    queue = Stored(*(task(number, f"https://{number}") for number in range(many)), task("zz"), window=16)
    for number in range(many):
        queue.holds.hold(f"https://{number}", SECOND)
    assert queue.turn() == []
    assert queue.loads < many
    assert queue.agenda.wake_at(0) == SECOND
    assert len(queue.agenda.aside()) == MOST_ASIDE
    order: list[str] = []
    while names := queue.turn(SECOND):
        order += names
        for name in names:
            queue.end(name, SECOND)
    assert order == [*(f"{number:06}" for number in range(many)), "zz"]
    assert not queue.holds


def test_the_number_of_lanes_is_bounded() -> None:
    queue = Stored(window=16)
    assert queue.turn() == []
    for number in range(3 * MOST_ASIDE):
        queue.holds.hold(f"https://{number}", SECOND)
        queue.add(task(number, f"https://{number}"))
        assert queue.turn() == []
        assert queue.agenda.waiting < 3_000
    assert queue.loads < 3 * MOST_ASIDE
    order: list[str] = []
    while names := queue.turn(SECOND):
        order += names
        for name in names:
            queue.end(name, SECOND)
    assert order == [f"{number:06}" for number in range(3 * MOST_ASIDE)]


def test_an_expired_task_is_passed_over_and_not_loaded_again_and_again() -> None:
    late = [task(number)._replace(expires_at=5) for number in range(4)]
    queue = Stored(*late, task("zz"))
    assert queue.turn(5) == []
    assert queue.loads == 1
    assert not queue.agenda.needs_load(5)
    for entry in late:
        del queue.tasks[entry.id]
        queue.agenda.remove(entry.id)
    assert queue.turn(5) == ["zz"]


def test_expired_ones_among_others_are_left_out() -> None:
    queue = Stored(window=99)
    for number in range(6):
        queue.add(task(number)._replace(expires_at=5 + number % 2))
    assert queue.turn(5) == ["000001", "000003", "000005"]
    assert queue.agenda.waiting == 0


def test_what_runs_does_not_wait() -> None:
    queue = Stored(task("a"))
    assert queue.turn() == ["a"]
    queue.agenda.add(task("a"), 0)
    assert queue.agenda.waiting == 0
    assert queue.turn() == []


def test_it_expires_while_its_destination_is_aside() -> None:
    queue = Stored(task("old", DEAD)._replace(expires_at=SECOND), task("young", DEAD))
    queue.holds.hold(DEAD, SECOND)
    assert queue.turn() == []
    assert queue.turn(SECOND) == ["young"]


def test_removed_wherever_it_is() -> None:
    queue = Stored(window=99, concurrency=1)
    queue.holds.hold(DEAD, SECOND)
    queue.add(task("aside", DEAD, priority=9))
    for entry in (task("ready"), task("late", due_at=9), task("runs", priority=8)):
        queue.add(entry)
    assert queue.turn() == ["runs"]
    assert queue.agenda.aside() == [DEAD]
    for name in ("ready", "aside", "late"):
        assert queue.agenda.remove(name)
        assert not queue.agenda.remove(name)
    assert queue.agenda.waiting == 0


def test_one_that_is_removed_competes_no_more() -> None:
    queue = Stored(window=99, destination_concurrency=1)
    for name in "abc":
        queue.add(task(name, DEAD))
    assert queue.turn() == ["a"]
    queue.end("a")
    assert queue.agenda.startable(0) == 2
    queue.agenda.remove("b")
    assert queue.turn() == ["c"]


def test_told_again_it_waits_once() -> None:
    queue = Stored(window=99)
    queue.add(task("a", due_at=5), 0)
    queue.add(task("a", due_at=5), 5)
    assert queue.agenda.waiting == 1
    queue.add(task("a", due_at=9)._replace(version=3), 5)
    assert queue.agenda.waiting == 1
    assert queue.turn(5) == []
    assert queue.turn(9) == ["a"]


def test_cleared_it_is_complete_and_what_runs_runs_on() -> None:
    queue = Stored(*(task(number, DEAD) for number in range(9)), task("runs", priority=9))
    queue.holds.hold(DEAD, SECOND)
    assert queue.turn() == ["runs"]
    spilled = queue.agenda.spilled
    queue.agenda.clear()
    assert (spilled, queue.agenda.spilled, queue.agenda.waiting) == (True, False, 0)
    assert queue.agenda.running == {"runs": FINE}
    assert not queue.agenda.at_rest(0)
    queue.end("runs")
    assert queue.agenda.at_rest(0)


def test_it_rests_when_the_bucket_is_full() -> None:
    queue = Stored(rate_limit=RateLimit(1, 3))
    queue.load(0)
    assert not queue.agenda.at_rest(0)
    assert queue.agenda.rests_at(0) == 3 * SECOND
    assert queue.agenda.at_rest(3 * SECOND)


def test_it_explains_where_a_task_stands() -> None:
    queue = Stored(*(task(number) for number in range(2)), task("dead", DEAD), concurrency=1)
    queue.holds.hold(DEAD, SECOND)
    assert queue.turn() == ["000000"]
    standing = queue.agenda.explain(task("zz"), 0)
    assert standing == Standing(
        paused=False,
        waits_for_slot=True,
        token_at=None,
        held_until=None,
        destination_full=False,
        ahead=1,
        ahead_is_exact=True,
    )
    queue.configure(0, concurrency=2, destination_concurrency=1, rate_limit=RateLimit(1), paused=True)
    standing = queue.agenda.explain(task("zz"), 0)
    assert (standing.paused, standing.destination_full, standing.token_at) == (True, True, SECOND)
    assert not standing.waits_for_slot
    assert queue.agenda.explain(task("dead", DEAD), 0).held_until == SECOND
    queue.agenda.invalidate()
    assert not queue.agenda.explain(task("zz"), 0).ahead_is_exact


def test_what_ended_tasks_pushed_out_of_memory_is_loaded_again() -> None:
    agenda = Agenda(window=WINDOW, holds=Holds(), now=0)
    waits = Entry("w", 5, 5, 1, "https://a")
    agenda.load(head([waits], 10, WINDOW), 10)
    for number in range(2 * WINDOW + 1):  # told of late: their time ran out, and storage has their end
        agenda.add(Entry(f"e{number}", 5, 1, 1, "https://a", expires_at=2), 10)
    assert agenda.start(10, 1) == []
    assert agenda.needs_load(10)
    agenda.load(head([waits], 10, WINDOW), 10)
    assert agenda.start(10, 1) == [waits]
