"""What the engine must do by itself, told plainly: every task in one dict, every decision a sort."""

from __future__ import annotations

from attrs import define, field

from aq import lifecycle
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.task import Status

RETENTION = {Status.COMPLETED: 50, Status.FAILED: 80}
CLEARED_WITHIN = 31
"""Seconds from the end of its retention within which a task must be gone."""


@define
class Known:
    """What the model knows of a task; times in seconds of the session's clock."""

    id: str
    queue: str
    host: str
    priority: int
    due: float
    max_retries: int | None
    timeout: int
    key: str | None = None
    expires_in: int | None = None
    expires: float | None = None
    status: Status = Status.PENDING
    began: float = 0
    finished: float = 0
    failures: int = 0
    unknowns: int = 0
    attempts: list[str] = field(factory=list)
    reason: str | None = None

    @property
    def times_out(self) -> float:
        return self.began + self.timeout

    @property
    def order(self) -> tuple[int, float, str]:
        return (-self.priority, self.due, self.id)


@define
class Bucket:
    """Tokens, counted in plain numbers; the rates used are powers of two, so they are exact."""

    rate: float
    burst: int
    at: float
    level: float = 0

    def fill(self, now: float) -> None:
        self.level = min(self.burst, self.level + self.rate * (now - self.at))
        self.at = now


@define
class Policy:
    concurrency: int = 50
    max_retries: int = 3
    paused: bool = False
    per_host: int | None = None
    bucket: Bucket | None = None


@define
class World:
    """Every task of every queue. Each queue has hosts of its own, so a hold is a matter of one queue."""

    now: float = 0
    tasks: dict[str, Known] = field(factory=dict)
    gone: set[str] = field(factory=set)
    policies: dict[str, Policy] = field(factory=dict)
    held: dict[str, float] = field(factory=dict)
    """Host → when its hold is over; a probe goes then, the rest after the probe."""
    probes: dict[str, str] = field(factory=dict)
    heads: set[str] = field(factory=set)
    """Tasks with an ordering key that the queue's supervisor knows to be at their turn."""

    def of(self, queue: str, *statuses: Status) -> list[Known]:
        return [t for t in self.tasks.values() if t.queue == queue and t.status in statuses]

    def settle(self) -> None:
        """Everything that happens by itself, until nothing more does."""
        self.expire()
        while True:
            for queue, policy in self.policies.items():
                self.start(queue, policy)
            new = self.at_their_turn() - self.heads
            if not new:
                return
            self.heads |= new

    def expire(self) -> None:
        for task in self.tasks.values():
            if task.status is Status.PENDING and task.expires is not None and task.expires <= self.now:
                self.end(task, Status.FAILED, "expired")

    def at_their_turn(self) -> set[str]:
        """Of each ordering key the active task, else the first created of those that wait."""
        heads: dict[tuple[str, str], Known] = {}
        for task in sorted(self.tasks.values(), key=lambda task: (task.status is Status.PENDING, task.id)):
            if task.key is not None and not task.status.final:
                heads.setdefault((task.queue, task.key), task)
        return {task.id for task in heads.values() if task.status is Status.PENDING}

    def start(self, queue: str, policy: Policy) -> None:
        if policy.bucket is not None:
            policy.bucket.fill(self.now)
        if policy.paused:
            return
        for task in sorted(self.of(queue, Status.PENDING), key=lambda task: task.order):
            if len(self.of(queue, Status.ACTIVE)) >= policy.concurrency:
                return
            if task.due > self.now or (task.key is not None and task.id not in self.heads):
                continue
            if self.blocked(task, policy):
                continue
            if policy.bucket is not None:
                if policy.bucket.level < 1:
                    return
                policy.bucket.level -= 1
            if task.host in self.held:
                self.probes[task.host] = task.id
            task.status, task.began = Status.ACTIVE, self.now
            self.heads.discard(task.id)

    def blocked(self, task: Known, policy: Policy) -> bool:
        running = [t for t in self.of(task.queue, Status.ACTIVE) if t.host == task.host]
        full = policy.per_host is not None and len(running) >= policy.per_host
        return full or task.host in self.probes or self.held.get(task.host, 0) > self.now

    def conclude(self, task: Known, outcome: Outcome) -> None:
        policy = self.policies[task.queue]
        task.attempts.append(outcome.status)
        self.hold(task, outcome)
        if outcome.succeeded:
            self.end(task, Status.COMPLETED)
            return
        unknown = outcome.status is AttemptStatus.UNKNOWN
        task.unknowns = task.unknowns + 1 if unknown else 0
        free = unknown and task.unknowns <= lifecycle.UNKNOWNS_FORGIVEN
        task.failures += 0 if free else 1
        allowed = policy.max_retries if task.max_retries is None else task.max_retries
        wait = 0 if free else 2 ** (task.failures - 1)
        due = self.now + max(wait, outcome.retry_after or 0)
        if outcome.error_type is ErrorType.GONE:
            self.end(task, Status.FAILED, "gone")
        elif task.failures > allowed:
            self.end(task, Status.FAILED, "exhausted")
        elif task.expires is not None and task.expires <= due:
            self.end(task, Status.FAILED, "expired")
        else:
            task.status, task.due = Status.PENDING, due

    def hold(self, task: Known, outcome: Outcome) -> None:
        probe = self.probes.get(task.host) == task.id
        if probe:
            del self.probes[task.host]
        if outcome.response_code == 429 and outcome.retry_after:
            until = self.now + outcome.retry_after
            self.held[task.host] = max(self.held.get(task.host, 0), until)
        elif probe:
            del self.held[task.host]

    def end(self, task: Known, status: Status, reason: str | None = None) -> None:
        task.status, task.finished, task.reason = status, self.now, reason
        self.heads.discard(task.id)

    def revive(self, *tasks: Known) -> None:
        """They wait again; with its ordering key one of them may go before what was to be next."""
        for task in tasks:
            task.status, task.due, task.reason = Status.PENDING, self.now, None
            task.failures = task.unknowns = 0
            task.expires = None if task.expires_in is None else self.now + task.expires_in
        self.heads = self.at_their_turn()

    def forget(self, task: Known) -> None:
        self.gone.add(task.id)
        self.heads.discard(task.id)
        del self.tasks[task.id]

    def restart(self) -> None:
        """What was running has no known end; buckets are empty, and who asked for a pause is forgotten."""
        self.held.clear()
        self.probes.clear()
        self.heads.clear()
        for policy in self.policies.values():
            if policy.bucket is not None:
                policy.bucket.level, policy.bucket.at = 0, self.now
        for task in list(self.tasks.values()):
            if task.status is Status.ACTIVE:
                self.conclude(task, Outcome(status=AttemptStatus.UNKNOWN))
        self.expire()
        self.heads |= self.at_their_turn()
        self.settle()
