"""Random changes for `test_differential`: mostly sensible, some aimed at what is not (or not so) any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from msgspec.structs import replace

from aq.apikey import ApiKey, Scope
from aq.ids import IdMinter, sequence_of
from aq.lifecycle import ended, expired, revived, started
from aq.outcome import AttemptStatus, ErrorType, Outcome, Timing
from aq.policy import QueuePolicy, RateLimit
from aq.schedule import CatchUp, Overlap, Schedule
from aq.storage.changes import (
    Change,
    Claim,
    Delete,
    DropQueue,
    DropSchedule,
    Forget,
    Insert,
    Purge,
    PutKey,
    PutQueue,
    PutSchedule,
    PutSetting,
    Record,
    Start,
    Sweep,
    Unit,
    Update,
)
from aq.task import (
    NO_OPTIONS,
    Clearing,
    Environment,
    Method,
    Options,
    Queue,
    QueueKey,
    Revival,
    Status,
    Task,
)

from .model import Model

KEYS: Final = [QueueKey(environment, name) for name in ("a", "b") for environment in Environment]
URLS: Final = ("http://a.example/", "http://a.example:81/x", "https://[::1]:8443/x?y=%20")
TAGS: Final = ("t", "ü")
SECOND: Final = 1_000_000
MOST_UNITS: Final = 8
OUTCOMES: Final = (
    Outcome.success(),
    Outcome(
        status=AttemptStatus.FAILURE, error_type=ErrorType.GONE, response_code=410, response_body=b"\x00"
    ),
    Outcome(status=AttemptStatus.TIMEOUT, error_type=ErrorType.TIMEOUT, error="ü", timing=Timing(1, None, 2)),
)
ENDS: Final = [Status.PENDING] * 8 + list(Status)


class Deed:
    """Makes up units. What it decides on it takes from the model, which it does not change."""

    def __init__(self, seed: int, model: Model) -> None:
        self.random = Random(seed)
        self.model = model
        self.minter = IdMinter(self.random.getrandbits)
        self.now = 1_000_000_000
        self.latest = self.now
        self.seen: list[Task] = []
        """Every task as it was at some moment."""
        self.late: list[Task] = []
        """Tasks that have an id and were not inserted yet."""
        self.makers: Sequence[tuple[int, Callable[[], list[Change]]]] = (
            (40, self.insert),
            (25, self.start),
            (25, self.end),
            (8, self.delete),
            (6, self.put_queue),
            (3, self.drop_queue),
            (4, self.sweep),
            (3, self.purge),
            (5, self.expire),
            (8, self.revive),
            (4, self.postpone),
            (6, self.claim),
            (3, self.forget),
            (2, self.put_key),
            (5, self.put_schedule),
            (2, self.drop_schedule),
            (3, self.put_setting),
            (3, self.record),
        )

    def units(self) -> list[Unit]:
        self.now += self.random.randint(-1_000, 2 * SECOND)
        return [self.unit() for _ in range(self.random.randint(0, MOST_UNITS))]

    def unit(self) -> list[Change]:
        weights, makers = zip(*self.makers, strict=True)
        chosen = self.random.choices(makers, weights, k=self.random.choice([1, 1, 1, 2, 3]))
        return [change for make in chosen for change in make()]

    # -- what they are about --------------------------------------------------------------------------------
    def key(self) -> QueueKey:
        return self.random.choice(KEYS[:4] if self.random.random() < 0.8 else KEYS)

    def known(self, status: Status | None = None) -> Task:
        """A task (in this state) as it is now, or (one time in six) as it was, or as it never was."""
        if self.seen and self.random.random() < 1 / 6:
            return self.random.choice(self.seen)
        tasks = [task for task in self.model.state.tasks.values() if status in (None, task.status)]
        return self.random.choice(tasks) if tasks else self.fresh()

    def fresh(self) -> Task:
        self.latest = max(self.latest, self.now)
        status = self.random.choice(ENDS)
        past = self.now - self.random.randint(0, 3) * SECOND
        return Task(
            id=self.minter.mint(self.latest),
            queue=self.key(),
            webhook_url=self.random.choice(URLS),
            priority=self.random.randint(1, 10),
            delay=self.random.randint(0, 9),
            created_at=self.latest,
            due_at=self.now + self.random.choice([-3, -1, 0, 1, 3, 60, 90]) * SECOND,
            max_retries=self.random.choice([None, 0, 2]),
            timeout=self.random.choice([None, 1, 900]),
            traceparent=self.random.choice([None, "00-0af7-01"]),
            ordering_key=self.random.choice([None, None, "x", "y", "ü z"]),
            options=self.options(),
            status=status,
            started_at=self.now if status is Status.ACTIVE else None,
            finished_at=past if status.final else None,
            error_type=ErrorType.DNS if status is Status.FAILED else None,
            expires_at=self.random.choice([None, None, self.now - SECOND, self.now + 2 * SECOND]),
            callback_id=self.random.choice([None, None, "task_some"]),
        )

    def options(self) -> Options:
        if self.random.random() < 0.5:
            return NO_OPTIONS
        return Options(
            method=self.random.choice(list(Method)),
            headers=self.random.choice([(), (("x-a", "1"), ("x-b", ""))]),
            run_at=self.random.choice([None, self.now]),
            expires_in=self.random.choice([None, 5]),
            callback_url=self.random.choice([None, "https://c.example/"]),
            tags=tuple(self.random.sample(TAGS, self.random.randint(0, 2))),
            schedule_id=self.random.choice([None, "schedule_1"]),
            slot=self.random.choice([None, self.now]),
            tells_of=self.random.choice([None, "task_other"]),
        )

    # -- tasks ----------------------------------------------------------------------------------------------
    def insert(self) -> list[Change]:
        if self.random.random() < 0.1:
            self.late.append(self.fresh())
        if self.late and self.random.random() < 0.1:
            task = self.late.pop()
        else:
            task = self.fresh() if self.random.random() < 0.95 else self.known()
        self.seen.append(task)
        return [Insert(task, self.random.randbytes(self.random.choice([0, 3, 9_000])))]

    def start(self) -> list[Change]:
        task = self.known(Status.PENDING)
        self.seen.append(task)
        return [Start(task.queue, task.id, task.version, self.now)]

    def end(self) -> list[Change]:
        task = self.known(Status.ACTIVE)
        active = (
            task if task.status is Status.ACTIVE else started(replace(task, status=Status.PENDING), self.now)
        )
        active = replace(active, started_at=self.now)
        outcome, policy = self.random.choice(OUTCOMES), QueuePolicy(max_retries=1)
        after, attempt = ended(active, outcome, policy, now=self.now, chance=self.random.random())
        self.seen.append(after)
        return [Update(after, Status.ACTIVE), Record(after.id, attempt)]

    def record(self) -> list[Change]:
        return self.end()[1:]

    def expire(self) -> list[Change]:
        task = replace(self.known(Status.PENDING), status=Status.PENDING)
        return self.changed(expired(task, now=self.now), Status.PENDING)

    def revive(self) -> list[Change]:
        task = replace(self.known(Status.FAILED), status=Status.FAILED)
        return self.changed(revived(task, now=self.now), Status.FAILED)

    def postpone(self) -> list[Change]:
        task = self.known(Status.PENDING)
        return self.changed(
            replace(task, due_at=task.due_at + 90 * SECOND, version=task.version + 1), task.status
        )

    def changed(self, task: Task, was: Status) -> list[Change]:
        self.seen.append(task)
        return [Update(task, was)]

    def delete(self) -> list[Change]:
        task = self.known(self.random.choice([Status.PENDING, None]))
        return [Delete(task.queue if self.random.random() < 0.9 else self.key(), task.id)]

    def sweep(self) -> list[Change]:
        statuses = self.random.choice([(Status.COMPLETED, Status.FAILED), (Status.FAILED,)])
        before = self.random.choice([None, self.now - SECOND])
        stay = self.random.choice([0, 0, 1, 2, 5])
        known = self.model.state.queues.get(owner := self.key())
        policy = QueuePolicy() if known is None or self.random.random() < 0.2 else known.policy
        rule = self.random.choice([None, (owner, policy.retention)])
        return [Sweep(self.key(), self.random.choice([0, 1, 3, 100]), statuses, before, stay, rule)]

    def purge(self) -> list[Change]:
        task = self.known(Status.PENDING)
        tasks = list(self.model.state.tasks)
        spared = frozenset(self.random.sample(tasks, self.random.randint(0, len(tasks))))
        through = sequence_of(task.id) or 0
        return [Purge(task.queue, self.random.choice([0, 1, 2, 100]), through, spared)]

    # -- everything else ------------------------------------------------------------------------------------
    def put_queue(self) -> list[Change]:
        key = self.key()
        known = self.model.state.queues.get(key)
        version = (
            self.random.choice([1, 2, 3]) if known is None else known.version + self.random.choice([1, 1, 2])
        )
        policy = QueuePolicy(
            concurrency=self.random.randint(1, 99),
            paused=self.random.random() < 0.5,
            rate_limit=self.random.choice([None, RateLimit(0.5)]),
            retention_max_tasks=self.random.choice([0, 9]),
            signing_secrets=self.random.choice([None, ("whsec_" + "A" * 32,)]),
        )
        clearing = Clearing(self.minter.last - self.random.randint(0, 40), ("task_spared",))
        revival = Revival(failed_by=self.now, tag="ü", error_type=ErrorType.DNS, remaining=3)
        queue = Queue(
            key,
            policy,
            self.now,
            version,
            clearing=self.random.choice([None, None, None, clearing, clearing, Clearing((1 << 63) - 1)]),
            revival=self.random.choice([None, Revival(failed_by=1), revival]),
        )
        return [PutQueue(queue)]

    def drop_queue(self) -> list[Change]:
        key = self.key()
        emptied: list[Change] = []
        if self.random.random() < 0.5:
            emptied = [Sweep(key, 1_000), Purge(key, 1_000, self.minter.last)]
        return [*emptied, DropQueue(key)]

    def claim(self) -> list[Change]:
        environment, name = self.random.choice(list(Environment)), self.random.choice(["k", "ü"])
        expires_at = self.now + self.random.choice([-SECOND, 0, SECOND, 5 * SECOND])
        return [Claim(environment, name, self.random.randbytes(4), self.random.randbytes(3), expires_at)]

    def forget(self) -> list[Change]:
        """All or none: which ones go when a limit binds is nowhere promised."""
        return [Forget(self.now - self.random.choice([0, 2]) * SECOND, self.random.choice([0, 100, 100]))]

    def put_key(self) -> list[Change]:
        key = ApiKey(
            id=self.random.choice(["key_1", "key_2", "key_3"]),
            name="ü",
            environment=self.random.choice(list(Environment)),
            hash=f"{self.random.getrandbits(256):064x}",
            scopes=self.random.choice([(), (Scope.READ,), tuple(Scope)]),
            queues=self.random.choice([None, (), ("a", "b")]),
            rate_limit_per_minute=self.random.choice([None, 60]),
            created_at=self.now,
            revoked_at=self.random.choice([None, self.now]),
        )
        return [PutKey(key)]

    def put_schedule(self) -> list[Change]:
        schedule_id = self.random.choice(["schedule_1", "schedule_2"])
        known = self.model.state.schedules.get(schedule_id)
        schedule = Schedule(
            id=schedule_id,
            environment=self.random.choice([Environment.LIVE, Environment.TEST]),
            task='{"ü": 1}',
            cron=self.random.choice([None, "* * * * *"]),
            every=self.random.choice([None, 60]),
            timezone=self.random.choice(["UTC", "Europe/Berlin"]),
            overlap=self.random.choice(list(Overlap)),
            catch_up=self.random.choice(list(CatchUp)),
            paused=self.random.random() < 0.5,
            created_at=self.now,
            from_at=self.now,
            last_slot=self.random.choice([None, self.now]),
            last_task_id=self.random.choice([None, "task_some"]),
            version=self.random.choice([1, 2, *[(known.version if known else 0) + 1] * 3]),
        )
        return [PutSchedule(schedule)]

    def drop_schedule(self) -> list[Change]:
        return [DropSchedule(self.random.choice(["schedule_1", "schedule_2"]))]

    def put_setting(self) -> list[Change]:
        return [PutSetting(self.random.choice("xyz"), str(self.random.random()))]
