"""What was asked, what was acknowledged, what arrived, how each life ended. Instants are Unix seconds."""

from __future__ import annotations

import time
from collections import defaultdict
from enum import Enum
from typing import Any

import trio
from attrs import define, field, frozen

RETRY_DELAY = 0.2
"""Seconds between attempts, in every queue of a run."""
TIMEOUT = 1.0
"""Seconds that an attempt may take, of every task of a run."""


class Death(Enum):
    """How a life ends."""

    KILL = "kill -9"
    TERM = "SIGTERM"
    TWICE = "SIGTERM, then another"


@define
class Life:
    """One server process. ``death`` and ``over`` are set when it ends, ``told`` when it is sent a SIGTERM."""

    began: float
    ready: float = float("inf")
    death: Death | None = None
    told: float = float("inf")
    over: float = float("inf")
    gone: trio.Event = field(factory=trio.Event)
    exit_code: int | None = None
    streams: list[bool] = field(factory=list)
    """Of each event stream that was open at the end: whether its last word was ``end``."""

    def told_of(self, lives: list[Life]) -> str:
        """Which of ``lives`` it is and what came when, for the reader of a fault."""
        number = f"life {lives.index(self) + 1} of {len(lives)}"
        return f"{number}: began {self.began:.3f}, ready {self.ready:.3f}, told {self.told:.3f}, {self.death}"


@define
class Made:
    """A task that was acknowledged, and what a client was told of it since."""

    id: str
    body: dict[str, Any]
    created_at: float
    acknowledged_at: float
    """When its answer had come."""
    deleted_at: float = float("inf")
    """When a deletion was acknowledged."""
    deleting: bool = False
    """A deletion was asked for: without an answer it may have been done."""
    completed_at: float = float("inf")
    """When a client first saw that it is completed."""
    retries: int = 0
    """Retries by hand that were acknowledged."""

    @property
    def due_at(self) -> float:
        return self.created_at + float(self.body.get("delay", 0))

    @property
    def line(self) -> tuple[str, str] | None:
        """The queue and ordering key of a task that has one."""
        key = self.body.get("ordering_key")
        return None if key is None else (self.body["queue"], key)


@define
class Arrival:
    """A delivery, as its receiver saw it; ``over`` when it was answered, or its connection ended."""

    task_id: str
    attempt: int
    at: float
    over: float = float("inf")
    status: int | None = None
    """What was answered; None where nothing was."""


@frozen
class Rhythm:
    """A schedule that was acknowledged: ``catch_up: all``, so that no slot may be missing."""

    id: str
    queue: str
    created_at: float
    every: int


@define
class Ledger:
    """Written by clients, receiver and reaper; read by the judge."""

    made: dict[str, Made] = field(factory=dict)
    arrivals: dict[str, list[Arrival]] = field(factory=lambda: defaultdict(list))
    lives: list[Life] = field(factory=list)
    rhythms: list[Rhythm] = field(factory=list)
    unanswered: int = 0
    """Tasks asked for without an idempotency key whose answer never came: each may be there, or not."""
    batches: dict[str, int] = field(factory=dict)
    """Tag of a batch, and how many tasks it holds: all of them or none are there."""
    faults: list[tuple[str, str]] = field(factory=list)
    """What was seen to be wrong on the way: the rule, and a line."""
    requests: int = 0

    def acknowledge(self, body: dict[str, Any], answer: dict[str, Any], created_at: float) -> Made:
        return self.made.setdefault(answer["id"], Made(answer["id"], body, created_at, time.time()))
