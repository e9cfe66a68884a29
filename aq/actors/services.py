"""What every queue supervisor is given, and the sizes of its buffers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

from attrs import define, field, frozen

from aq.actors.capacity import Capacity
from aq.actors.committer import Committer
from aq.actors.feed import Feed
from aq.actors.holds import Holds
from aq.actors.messages import Message
from aq.actors.meter import Meter
from aq.actors.policies import Policies
from aq.actors.runner import run_attempt
from aq.actors.waiters import Waiters
from aq.clock import ServiceClock
from aq.delivery.protocol import Delivery, Runner
from aq.ids import IdMinter
from aq.outcome import Outcome
from aq.storage.protocol import Storage
from aq.task import QueueKey
from aq.totals import Totals


@frozen(kw_only=True)
class Sizes:
    """Bounds, per queue where nothing else is said."""

    window: int = 4_096
    """Waiting tasks kept in memory, in each of the two heaps (about; the rest stays in storage)."""
    requests: int = 1_000
    """Requests that may wait for the supervisor; further ones are answered "overloaded"."""
    turn: int = 256
    """Messages handled before the next start is decided."""
    idle: float = 60.0
    """Seconds without a task after which the supervisor retires."""
    restarts: int = 5
    """Crashes allowed within ``restarts_within`` seconds before the queue is quarantined."""
    restarts_within: float = 30.0
    tidied: float = 30.0
    """Seconds between two rounds, through all queues, of deleting what was kept for long enough."""


@define(kw_only=True)
class Services:
    """Shared by the actors of one engine; ``draining`` is set once, when nothing more may start."""

    storage: Storage
    committer: Committer
    clock: ServiceClock
    minter: IdMinter
    random: Random
    runner: Runner
    capacity: Capacity
    waiters: Waiters
    feed: Feed
    meter: Meter
    totals: Totals
    holds: Holds
    policies: Policies
    sizes: Sizes
    attempt: Callable[[Runner, Delivery], Awaitable[Outcome]] = run_attempt
    """Makes one attempt under its deadline; whatever happens is an outcome."""
    draining: bool = False
    tell: Callable[[QueueKey, Message], None] = field(init=False)
    """Reports to the supervisor of a queue, bringing it to life if it must; set by the root."""
