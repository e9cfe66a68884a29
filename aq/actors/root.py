"""The root supervisor: brings queue supervisors to life, lets them retire, and restarts those that crash.

It is the only level that restarts. A queue whose supervisor crashes more often than the budget allows is
quarantined: its tasks are kept, requests to it are refused, the other queues go on, until somebody releases
it. A failing storage is not a matter of one queue: it ends the engine.
"""

from __future__ import annotations

import logging
import math

import trio

from aq.actors.attempts import SupervisorError
from aq.actors.desk import owner
from aq.actors.mailbox import Mailbox, MailboxClosedError
from aq.actors.messages import Message, Request, Stop
from aq.actors.patience import patiently
from aq.actors.services import Services
from aq.actors.supervisor import QueueSupervisor
from aq.errors import DrainingError, QuarantinedError, StorageError, UnavailableError
from aq.instants import Instant
from aq.task import Queue, QueueKey

logger = logging.getLogger(__name__)


class Root:
    """Owns every queue supervisor of one engine."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._mailboxes: dict[QueueKey, Mailbox] = {}
        self._supervisors: dict[QueueKey, QueueSupervisor] = {}
        self._nursery: trio.Nursery
        self._stopping = False
        self.stopped = trio.Event()
        """Set once every supervisor has ended."""
        self.quarantined: set[QueueKey] = set()
        self.restarts = 0
        """Of supervisors that crashed."""
        self._missed: set[QueueKey] = set()
        """Queues whose supervisor was just retiring when something was reported to it."""
        self._opened_at = services.clock.now()
        self._idle_since: dict[QueueKey, Instant] = {}
        """Of queues whose supervisor crashed: since when none has started anything."""
        services.tell = self._tell

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start a supervisor for every queue with work left, then serve until `stop`."""
        try:
            async with trio.open_nursery() as self._nursery, trio.open_nursery() as keep_open:
                self._keep_open = keep_open.cancel_scope
                for queue in await patiently(self._services.storage.queues):
                    if _has_work(queue):
                        self._reach(queue.key)
                task_status.started()
                await trio.sleep(math.inf)
            if not self._stopping:
                raise SupervisorError("the root supervisor was cancelled from within")
        finally:
            self._stopping = True
            self._services.feed.close()
            self._services.waiters.close()
            self.stopped.set()

    def stop(self) -> None:
        """End attempts that run, let every supervisor write what it has to, then return from `run`."""
        self._stopping = True
        for mailbox in self._mailboxes.values():
            mailbox.report(Stop())
        self._keep_open.cancel()

    async def ask(self, key: QueueKey, request: Request) -> None:
        """Send a request to a queue's supervisor, which answers in the request's reply.

        Raises OverloadedError when its mailbox is full, QuarantinedError when it crashed too often,
        DrainingError when the engine is closing.
        """
        while True:
            if self._stopping:
                raise DrainingError
            try:
                self._reach(key).offer(request)
            except MailboxClosedError:  # it retired a moment ago
                await trio.lowlevel.checkpoint()
            else:
                return

    def release(self, key: QueueKey) -> None:
        """A new life for a queue that is quarantined, and for the callbacks that tell of its tasks."""
        for one in [one for one in self.quarantined if owner(one) == key]:
            self.quarantined.remove(one)
            self._missed.discard(one)
            del self._mailboxes[one]
            self._reach(one)

    @property
    def supervisors(self) -> int:
        return len(self._supervisors)

    def _tell(self, key: QueueKey, message: Message) -> None:
        """What the message says is in storage already: a supervisor that is starting finds it there."""
        if self._stopping:
            return
        mailbox = self._reach(key)
        if mailbox.closed:
            self._missed.add(key)
        else:
            mailbox.report(message)

    def _reach(self, key: QueueKey) -> Mailbox:
        if key not in self._mailboxes:
            mailbox = self._mailboxes[key] = Mailbox(self._services.sizes.requests)
            self._nursery.start_soon(self._supervise, key, mailbox)
        return self._mailboxes[key]

    async def _supervise(self, key: QueueKey, mailbox: Mailbox) -> None:
        refusal: UnavailableError = DrainingError()
        budget = RestartBudget(self._services)
        try:
            while await self._crashes(key, mailbox):
                if not budget.allows_another():
                    refusal = QuarantinedError(str(key))
                    self._quarantine(key)
                    return
                self.restarts += 1
                await trio.sleep(budget.pause)
            del self._mailboxes[key]
            if key in self._missed and not self._stopping:
                self._missed.discard(key)
                self._reach(key)
        finally:
            mailbox.close(refusal)
            _refuse(mailbox, refusal)

    async def _crashes(self, key: QueueKey, mailbox: Mailbox) -> bool:
        """One life of a supervisor. True when it ended in a crash and another is to follow."""
        supervisor = self._supervisors[key] = QueueSupervisor(
            key, mailbox, self._services, idle_since=self._idle_since.get(key, self._opened_at)
        )
        try:
            await supervisor.run()
        except Exception as error:
            if _is_fatal(error):
                raise
            if _is_the_end(error):
                return False
            logger.exception("the supervisor of queue %s crashed", key)
            self._idle_since[key] = self._services.clock.now()
            return not self._stopping
        else:
            self._idle_since.pop(key, None)  # it retired with its rate limit at rest
            if supervisor.is_of_no_queue:
                self._services.policies.forget(key)
        finally:
            del self._supervisors[key]
            supervisor.abandon(UnavailableError(f"queue {key} was interrupted; repeat the request"))
        return False

    def _quarantine(self, key: QueueKey) -> None:
        """The mailbox stays in its place, closed, to refuse what comes."""
        logger.error("queue %s is quarantined: it crashed too often", key)
        self.quarantined.add(key)


class RestartBudget:
    """So many restarts within so many seconds, each after a longer pause than the one before."""

    def __init__(self, services: Services) -> None:
        self._sizes = services.sizes
        self._crashes: list[float] = []

    @property
    def pause(self) -> float:
        """Seconds to wait before the next restart."""
        return 0.05 * 2.0 ** len(self._crashes)

    def allows_another(self) -> bool:
        now = trio.current_time()
        self._crashes.append(now)
        while self._crashes[0] < now - self._sizes.restarts_within:
            del self._crashes[0]
        return len(self._crashes) <= self._sizes.restarts


def _has_work(queue: Queue) -> bool:
    counts = queue.counts
    return bool(counts.pending or counts.active or queue.clearing or queue.revival)


def _refuse(mailbox: Mailbox, refusal: UnavailableError) -> None:
    for message in mailbox.take(len(mailbox)):
        if isinstance(message, Request):
            message.reply.fail(refusal)


def _is_the_end(error: Exception) -> bool:
    """The committer has ended with the engine: nobody is to blame, and there is nothing to restart for."""
    if isinstance(error, ExceptionGroup):
        return error.split(DrainingError)[1] is None
    return isinstance(error, DrainingError)


def _is_fatal(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return any(_is_fatal(inner) for inner in error.exceptions if isinstance(inner, Exception))
    return isinstance(error, StorageError)
