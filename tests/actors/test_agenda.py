"""The agenda against a model that knows every task and sorts them all, each time."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aq.actors.agenda import Agenda, due_order, running_order
from aq.actors.heap import IndexedHeap
from aq.policy import QueuePolicy
from aq.storage.protocol import Entry, Window

WINDOW = 3


def head(waiting: Iterable[Entry], now: int, limit: int) -> Window:
    """What a storage would answer: the head of the due tasks and of the others."""
    due = sorted((e for e in waiting if e.due_at <= now), key=running_order)
    upcoming = sorted((e for e in waiting if e.due_at > now), key=due_order)
    return Window(due[:limit], len(due) <= limit, upcoming[:limit], len(upcoming) <= limit)


class AgendaMachine(RuleBasedStateMachine):
    """Whatever was submitted, started, finished, retried and deleted: what starts is the sorted head."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda = Agenda(window=WINDOW)
        self.configure(2, False)
        self.now = 0
        self.stored: dict[str, Entry] = {}
        self.running: dict[str, Entry] = {}
        self.minted = 0

    @rule(priority=st.integers(1, 3), delay=st.sampled_from([0, 0, 1, 2, 5]))
    def submit(self, priority: int, delay: int) -> None:
        self.minted += 1
        self.wait(Entry(f"{self.minted:06}", priority, self.now + delay, 1))

    @rule(tasks=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)), min_size=5, max_size=12))
    def burst(self, tasks: list[tuple[int, int]]) -> None:
        """More at once than a window holds, in either heap: they spill."""
        for priority, delay in tasks:
            self.submit(priority, delay)

    def wait(self, entry: Entry) -> None:
        self.stored[entry.id] = entry
        self.agenda.add(entry, self.now)

    @rule(span=st.integers(1, 4))
    def time_passes(self, span: int) -> None:
        self.now += span

    @rule(room=st.integers(0, 9))
    def start(self, room: int) -> None:
        if self.agenda.needs_load(self.now):
            self.agenda.load(head(self.stored.values(), self.now, WINDOW))
        free = 0 if self.paused else max(0, self.concurrency - len(self.running))
        due = sorted((e for e in self.stored.values() if e.due_at <= self.now), key=running_order)
        expected = due[: min(room, free)]
        started: list[Entry] = []
        while len(started) < len(expected):  # a window may give fewer at once, never others
            batch = self.agenda.start(self.now, len(expected) - len(started))
            started += batch
            for entry in batch:
                self.running[entry.id] = self.stored.pop(entry.id)
            if not batch:
                assert self.agenda.needs_load(self.now)
                self.agenda.load(head(self.stored.values(), self.now, WINDOW))
        assert started == expected
        assert self.agenda.startable(self.now) <= free - len(started)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), retry_in=st.sampled_from([None, 0, 1, 3]))
    def finish(self, data: st.DataObject, retry_in: int | None) -> None:
        entry = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.agenda.finish(entry.id)
        if retry_in is not None:
            self.wait(entry._replace(due_at=self.now + retry_in, version=entry.version + 2))

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.stored)))
        del self.stored[task_id]
        self.agenda.remove(task_id)

    @rule(concurrency=st.integers(1, 9), paused=st.booleans())
    def configure(self, concurrency: int, paused: bool) -> None:
        self.concurrency, self.paused = concurrency, paused
        self.agenda.adopt(QueuePolicy(concurrency=concurrency, paused=paused))

    @rule()
    def doubt(self) -> None:
        self.agenda.invalidate()

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.agenda.waiting <= 4 * WINDOW

    @invariant()
    def slots_are_counted(self) -> None:
        assert self.agenda.running == set(self.running)

    @invariant()
    def it_wakes_in_time(self) -> None:
        """Where a slot is free and nothing is due, it asks to be woken when the next task is."""
        upcoming = [e.due_at for e in self.stored.values()]
        if self.agenda.free_slots and upcoming and not self.agenda.needs_load(self.now):
            if self.agenda.startable(self.now):
                return
            wake_at = self.agenda.wake_at()
            assert wake_at is not None
            assert wake_at <= min(upcoming)


AgendaMachine.TestCase.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
TestAgenda = AgendaMachine.TestCase


class HeapMachine(RuleBasedStateMachine):
    """The indexed heap against a dict that is sorted each time."""

    def __init__(self) -> None:
        super().__init__()
        self.heap = IndexedHeap(running_order)
        self.model: dict[str, Entry] = {}

    @rule(number=st.integers(0, 30), priority=st.integers(1, 3), due_at=st.integers(0, 5))
    def push(self, number: int, priority: int, due_at: int) -> None:
        entry = Entry(f"{number:02}", priority, due_at, 1)
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


def spilled_agenda(tasks: Iterable[Entry]) -> Agenda:
    """Knows the head of these tasks at instant 0, and that there are more."""
    agenda = Agenda(window=WINDOW)
    agenda.load(head(tasks, 0, WINDOW))
    return agenda


def test_a_newcomer_beyond_the_horizon_waits_for_those_left_in_storage() -> None:
    backlog = [Entry(f"{number}", 5, 0, 1) for number in range(6)]
    agenda = spilled_agenda(backlog)
    agenda.add(Entry("worse", 1, 0, 1), now=0)
    assert [entry.id for entry in agenda.start(0, 9)] == ["0", "1", "2"]
    assert agenda.needs_load(0)


def test_what_is_due_in_storage_is_loaded_before_the_next_start() -> None:
    backlog = [Entry(f"{number}", 1, 5, 1) for number in range(3)] + [Entry("urgent", 9, 6, 1)]
    agenda = spilled_agenda(backlog)
    assert agenda.wake_at() == 5
    assert not agenda.needs_load(4)
    assert agenda.needs_load(6)
    agenda.load(head(backlog, 6, WINDOW))
    assert [entry.id for entry in agenda.start(6, 1)] == ["urgent"]
