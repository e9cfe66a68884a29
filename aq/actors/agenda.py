"""Who runs next in one queue, and when to look again. Pure: time is an argument, nothing is awaited.

The agenda keeps two heaps. *Ready* holds due tasks in running order (priority high to low, then earlier
due, then earlier created); *delayed* holds the others by due time. It holds keys only, never payloads, and
at most about twice ``window`` of them in each heap: a backlog beyond that *spills*, which means it is left
in storage.

A heap that spilled knows a *horizon*: every task up to it is in memory, every task beyond it is not. So
order holds across the spill: a newcomer beyond the horizon stays in storage, and before the next start the
agenda asks to be loaded again when the ready heap has run empty, or when the clock has passed the delayed
horizon (tasks in storage, of any priority, may be due that no heap knows).

A destination where nothing may start now steps aside with its tasks (`aq.actors.lanes`), and the next load
leaves it out; order holds among the rest. A rate limit, a full queue or a pause changes when, never who.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from aq.actors.gate import Gate
from aq.actors.heap import Spilling, due_order, running_order
from aq.actors.holds import FOREVER, Holds
from aq.actors.lanes import ASIDE, MOST_ASIDE, Lanes
from aq.instants import Instant
from aq.policy import QueuePolicy
from aq.storage.answers import Entry, Window


@frozen(kw_only=True)
class Standing:
    """Why a waiting task has not started."""

    paused: bool
    waits_for_slot: bool
    """As many of the queue's tasks run as may."""
    token_at: Instant | None
    """When the rate limit lets the next task start; None while it lets one."""
    held_until: Instant | None
    """When its destination may be tried again; `FOREVER` while the probe is out."""
    destination_full: bool
    """As many of the queue's tasks run at its destination as may."""
    ahead: int
    """Due tasks in memory that are to start before it; not those of blocked destinations."""
    ahead_is_exact: bool
    """Whether storage holds no others."""


class Agenda:
    """One queue's waiting and running tasks.

    A fresh agenda is empty and asks to be loaded. ``holds`` may be shared with other agendas.
    """

    def __init__(self, *, window: int, holds: Holds, now: Instant) -> None:
        self._gate = Gate(holds)
        self.running = self._gate.running
        """The destination of each task that has a slot."""
        self._window = window
        self._holds = holds
        self._heard = holds.changes
        self._ready = Spilling(running_order, window)
        self._delayed = Spilling(due_order, window)
        self._lanes = Lanes(self._ready, window, self._gate.blocked_until)
        self._aside = self._lanes.by_destination
        self._stale = True
        self._untouched = False
        self._left_out: frozenset[str] = frozenset()
        self.adopt(QueuePolicy(), now)

    # -- what is known --------------------------------------------------------------------------------------
    @property
    def waiting(self) -> int:
        """How many waiting tasks are in memory."""
        return len(self._ready.heap) + len(self._delayed.heap) + self._lanes.size

    @property
    def spilled(self) -> bool:
        """Whether storage may hold waiting tasks that are not in memory."""
        horizons = self._ready.horizon is not None or self._delayed.horizon is not None
        return self._stale or horizons or self._lanes.spilled

    def at_rest(self, now: Instant) -> bool:
        """Nothing waits or runs, and the rate limit has forgotten the past: a successor would do the same."""
        rests_at = self.rests_at(now)
        return rests_at is not None and rests_at <= now

    def rests_at(self, now: Instant) -> Instant | None:
        """When it will be `at_rest` by time alone; None for "not before something happens"."""
        return None if self.waiting or self.spilled else self._gate.rests_at(now)

    def explain(self, entry: Entry, now: Instant) -> Standing:
        """Where a waiting task stands, whether it is in memory or not. Looks at every task in memory."""
        place, gate, token_at = running_order(entry), self._gate, self._gate.token_at(now)
        return Standing(
            paused=gate.policy.paused,
            waits_for_slot=len(self.running) >= gate.policy.concurrency,
            token_at=None if token_at <= now else token_at,
            held_until=self._holds.blocked_until(entry.destination, now),
            destination_full=gate.is_full(entry.destination),
            ahead=sum(running_order(e) < place and e.id != entry.id for e in self._competing(now)),
            ahead_is_exact=self._knows_all_before(entry, now),
        )

    # -- what changes ---------------------------------------------------------------------------------------
    def adopt(self, policy: QueuePolicy, now: Instant) -> None:
        """This policy holds from now on, for what waits already too."""
        self._gate.adopt(policy, now)
        self._lanes.doubt_all()

    def idle_since(self, instant: Instant) -> None:
        """Nothing was started since then: the rate limit need not wait for more."""
        self._gate.idle_since(instant)

    def invalidate(self) -> None:
        """Memory may differ from storage: load again before the next start."""
        self._stale = True

    def clear(self) -> None:
        """Everything that waits, in memory and in storage, is gone. What runs runs on."""
        self._stale = False
        self._ready.load((), complete=True)
        self._delayed.load((), complete=True)
        self._lanes.clear()

    def add(self, entry: Entry, now: Instant) -> None:
        """A task waits from now on (a new one, or one to be retried); one that runs does not."""
        if entry.id in self.running:
            return
        later = entry.due_at > now
        if later or self._aside or entry.id in self._delayed.heap.members:
            self._drop(entry)  # it might be in another heap than it is put into
        if later:
            if self._delayed.add(entry):
                self._delayed.trim()
        else:
            self._add_due(entry)

    def remove(self, task_id: str) -> bool:
        """A waiting task is gone, from storage too by the next load; False when it was not in memory."""
        self._untouched = False
        return self._discard(task_id)

    def finish(self, task_id: str) -> None:
        """The slot of a task is free again."""
        destination = self._gate.leave(task_id)
        if destination is not None:
            self._lanes.doubt(destination)

    # -- loading --------------------------------------------------------------------------------------------
    def needs_load(self, now: Instant) -> bool:
        """Whether `load` must come before `start`, for what starts to be the right thing.

        Asked again after a load it may say yes again: when the load showed more destinations to leave out.
        """
        if self._gate.most(now) <= 0:
            return False
        if self._aside:
            self._settle(now)
        if self._is_outdated(now):
            return True
        return not (self._plain and self._ready.horizon is None) and self._has_run_dry(now)

    def aside(self) -> Sequence[str]:
        """The destinations to leave out of the next load, at most `MOST_ASIDE`.

        Those that have tasks and are blocked; where a destination may have only so many attempts, also the
        others that have stepped aside, which would soon do so again. If there are more than `MOST_ASIDE`
        with many tasks, others may have to wait until one of them is free.
        """
        lanes = self._aside.items()
        blocked = [destination for destination, lane in lanes if not lane.open]
        if self._gate.capped:
            blocked += [destination for destination, lane in lanes if lane.open]
        return blocked[:MOST_ASIDE]

    @property
    def aside_limit(self) -> int:
        """How many tasks of each destination in `aside` the next load should have."""
        return max(1, min(ASIDE, self._window // max(1, len(self._aside))))

    def load(self, window: Window, now: Instant) -> None:
        """Take the head of what waits in storage in the place of all that waits in memory.

        Everything decided before must be in storage by then: what starts is not pending there any more.
        """
        self._stale = False
        self._ready.load(window.due, window.due_complete)
        self._delayed.load(window.upcoming, window.upcoming_complete)
        self._lanes.load(window.aside)
        self._left_out = frozenset(window.aside)
        self._untouched = True
        self._settle(now)

    # -- starting -------------------------------------------------------------------------------------------
    def startable(self, now: Instant) -> int:
        """How many `start` would give at most, were there room for all; 0 when it would give none."""
        most = self._gate.most(now)
        if most <= 0:
            return 0
        self._surface(now)
        if self._first(now) is None:
            return 0
        return min(most, len(self._ready.heap) + self._lanes.size)

    def start(self, now: Instant, room: int) -> list[Entry]:
        """The next tasks to run, in order, at most ``room``; each takes a slot until `finish`.

        What must not start any more, because its time has run out, is dropped: its end is for others to put.
        """
        room = min(room, self._gate.most(now))
        if room <= 0:
            return []
        self._surface(now)
        started = self._take_plainly(now, room) if self._plain else self._take(now, room)
        if started:
            self._untouched = False
            self._gate.spend(len(started), now)
        return started

    def wake_at(self, now: Instant) -> Instant | None:
        """When to look again though nothing happened; None for "not before something happens".

        Now only if `needs_load` says so.
        """
        if not self._gate.free_slots:
            return None
        first = self._look(now)
        token_at = self._gate.token_at(now)
        if token_at > now:
            return self._wake_for_token(token_at, first, now)
        return now if self.needs_load(now) else self._next_change()

    # -- in parts -------------------------------------------------------------------------------------------
    @property
    def _plain(self) -> bool:
        """Only order counts: no destination stands aside or is to."""
        return self._gate.indifferent and not self._aside

    def _is_outdated(self, now: Instant) -> bool:
        """Whether storage may have due tasks that come before those in memory."""
        horizon = self._delayed.horizon
        return self._stale or (horizon is not None and horizon[0] <= now)

    def _has_run_dry(self, now: Instant) -> bool:
        """Whether no task in memory may be next, and a load would show others than the last one did."""
        if self._look(now) is not None:
            return False
        if self._stale:
            return True
        lacking = self._ready.horizon is not None or bool(self._lanes.starved)
        return lacking and not (self._untouched and frozenset(self.aside()) == self._left_out)

    def _add_due(self, entry: Entry) -> None:
        if entry.destination in self._aside:
            self._lanes.add(entry)
        elif self._ready.add(entry):
            self._ready.trim()
            self._untouched = False  # what the load has shown may be among what is pushed out

    def _discard(self, task_id: str) -> bool:
        found = self._ready.heap.discard(task_id) or self._delayed.heap.discard(task_id)
        return found or (bool(self._aside) and self._lanes.discard(task_id))

    def _look(self, now: Instant) -> Entry | None:
        self._surface(now)
        return self._first(now)

    def _surface(self, now: Instant) -> None:
        """Put the tasks where they belong that became due."""
        delayed = self._delayed.heap
        while delayed.members and (entry := delayed.peek()) is not None and entry.due_at <= now:
            self._add_due(delayed.pop())

    def _settle(self, now: Instant) -> None:
        if self._heard != self._holds.changes:
            self._heard = self._holds.changes
            self._lanes.doubt_all()
        if self._aside:
            self._lanes.settle(now)

    def _first(self, now: Instant) -> Entry | None:
        """The task that is next; what may not start is moved out of its way.

        None when there is none, and when storage may have one that comes before.
        """
        ready, gate = self._ready.heap, self._gate
        while True:
            entry = ready.peek()
            if self._aside:
                self._settle(now)
                entry = self._lanes.before(entry)
            if entry is None:
                return None
            if (expires_at := entry.expires_at) is not None and expires_at <= now:
                self._drop(entry)
            elif not gate.indifferent and gate.blocked_until(entry.destination, now) is not None:
                self._step_aside(entry)
            else:
                return None if self._aside and self._lacks_earlier(entry) else entry

    def _step_aside(self, entry: Entry) -> None:
        if entry.id not in self._ready.heap.members:
            self._lanes.doubt(entry.destination)
        elif not self._lanes.step_aside(entry):
            self._stale = True

    def _lacks_earlier(self, entry: Entry) -> bool:
        horizon = self._ready.horizon
        return bool(self._lanes.starved) or (horizon is not None and running_order(entry) > horizon)

    def _drop(self, entry: Entry) -> None:
        """It does not wait any more, if it did."""
        found = self._ready.heap.discard(entry.id) or self._delayed.heap.discard(entry.id)
        if not found and entry.destination in self._aside:
            self._lanes.take(entry)

    def _take_plainly(self, now: Instant, room: int) -> list[Entry]:
        """What `_take` does, where only the order counts."""
        taken: list[Entry] = []
        ready, running = self._ready.heap, self.running
        for _ in range(len(ready)):
            entry = ready.pop()
            if entry.expires_at is None or entry.expires_at > now:
                running[entry.id] = entry.destination
                taken.append(entry)
                if len(taken) == room:
                    break
        return taken

    def _take(self, now: Instant, room: int) -> list[Entry]:
        taken: list[Entry] = []
        while len(taken) < room and (entry := self._first(now)) is not None:
            self._begin(entry, now)
            taken.append(entry)
        return taken

    def _begin(self, entry: Entry, now: Instant) -> None:
        self._gate.enter(entry, now)
        self._drop(entry)

    def _wake_for_token(self, token_at: Instant, first: Entry | None, now: Instant) -> Instant | None:
        """Nothing can start before there is a token, whatever happens until then."""
        may_load = self._is_outdated(now) or self._ready.horizon is not None or self._lanes.starved
        if first is not None or may_load:
            return token_at
        change = self._next_change()
        return None if change is None else max(change, token_at)

    def _next_change(self) -> Instant | None:
        entry, horizon = self._delayed.heap.peek(), self._delayed.horizon
        times = [entry.due_at] if entry is not None else []
        times += [horizon[0]] if horizon is not None else []
        times += [self._lanes.opens_at] if self._lanes.opens_at < FOREVER else []
        return min(times, default=None)

    def _competing(self, now: Instant) -> Iterator[Entry]:
        """The tasks in memory that could start now, were there slots and tokens for all."""
        heaps = [self._ready.heap, self._delayed.heap, *(lane.tasks.heap for lane in self._aside.values())]
        blocked: dict[str, bool] = {}
        for heap in heaps:
            for entry in heap:
                if entry.due_at > now or (entry.expires_at is not None and entry.expires_at <= now):
                    continue
                if entry.destination not in blocked:
                    until = self._gate.blocked_until(entry.destination, now)
                    blocked[entry.destination] = until is not None
                if not blocked[entry.destination]:
                    yield entry

    def _knows_all_before(self, entry: Entry, now: Instant) -> bool:
        if self._is_outdated(now):
            return False
        place = running_order(entry)
        horizons = [self._ready.horizon]
        horizons += [
            lane.tasks.horizon
            for destination, lane in self._aside.items()
            if self._gate.blocked_until(destination, now) is None
        ]
        return all(horizon is None or place <= horizon for horizon in horizons)
