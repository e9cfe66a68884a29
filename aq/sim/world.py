"""A simulated world: lives of the engine, one after the other, on one disk and one network."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any, Final, cast

import trio

from aq.delivery.signing import Secret
from aq.errors import AsyncQueueError, StorageError, StorageUnavailableError
from aq.opening import open_engine
from aq.sim import clock
from aq.sim.clients import Clients
from aq.sim.disk import Disk, DiskFactory
from aq.sim.endpoints import QUICK, TEMPERAMENTS
from aq.sim.mix import Life, Mix
from aq.sim.network import Arrival, SimulatedNetwork
from aq.sim.observer import Observer
from aq.sim.restarts import Survey
from aq.sim.trace import Trace
from aq.sim.wall import Wall
from aq.sim.watch import Watched
from aq.sim.workload import Workload
from aq.storage.answers import TaskFilter
from aq.storage.changes import Unit
from aq.storage.protocol import Storage
from aq.task import Environment

ALL_ENDS_WITHIN: Final = 1_500
"""Seconds after the last fault within which every task has ended."""
GIVES_UP_AFTER: Final = 9.0
"""Seconds for which a storage must have failed before the engine may end by itself."""
SCHEDULES_REST: Final = 65.0
"""Seconds after a failure within which a schedule may be waiting to try again."""
PLENTY: Final = 100
"""Requests for which a mailbox has room when it refuses none."""
_SECRET: Final = str(Secret(b"simulated" * 4))


class World:
    """One run. ``observer.verdict`` says whether all was well."""

    def __init__(self, seed: int, mix: Mix, make_disk: DiskFactory, trace: Trace) -> None:
        self.mix = mix
        self.trace = trace
        self.observer = Observer(trace, mix.max_attempts)
        self._seed = seed
        self._random = Random(seed * 8 + 1)  # noqa: S311  # a world that can be seen again
        self._disk: Disk = make_disk(Random(seed * 8 + 2), mix.weather, trace)  # noqa: S311
        self._clients = Clients(self.observer.ledger, self.observer.verdict, trace)
        self._workload = Workload(
            mix, self._random, self.observer, self._clients, partial(self._reached, "told")
        )
        self._network = SimulatedNetwork(began=self._arrived, ended=self._left)
        self._watched: Watched | None = None
        self._doubtful: list[Unit] = []
        self._life: Life | None = None
        self._steps = 0
        self._doomed = trio.Event()
        self._crashed = False
        self._open = False
        self._closing = False
        self._wall = Wall(mix.steps, trace, self.observer.clock_begins)

    async def run(self) -> None:
        """Lives with faults; then one without, in which everything ends."""
        for host, kind in self.mix.hosts.items():
            self._network.endpoints[host] = TEMPERAMENTS[kind](self._random)
        async with trio.open_nursery() as nursery:
            if self.mix.steps:
                nursery.start_soon(self._wall.run)
            for number, life in enumerate(self.mix.lives):
                await self._live(life, partial(self._busy, first=number == 0))
                await trio.sleep(life.down)
            nursery.cancel_scope.cancel()
        self._disk.heal()
        for host in self.mix.hosts:
            self._network.endpoints[host] = QUICK(self._random)
        await self._live(Life(), self._quiet)
        try:
            async with self._disk.open() as storage:
                self.observer.opening()
                await self._survey(storage)
        except AsyncQueueError as error:
            self._judge_end(error)

    def at_rest(self) -> None:
        """Everybody waits for time to pass."""
        watched = self._watched
        if watched is None or not self._open or self._doomed.is_set() or self._closing:
            return
        if watched.quiet:
            long_ago = trio.current_time() > watched.failed_at + SCHEDULES_REST
            self.observer.rest.judge(schedules=long_ago and self.mix.sizes.requests >= PLENTY)
        elif watched.full or watched.failed_at == trio.current_time():
            self.observer.starts.uncertain()

    # -- one life -------------------------------------------------------------------------------------------
    async def _live(self, life: Life, clients: Any) -> None:
        self._life, self._steps, self._doomed = life, 0, trio.Event()
        self._crashed = self._open = self._closing = False
        self.trace.say("opening")
        self.observer.opening()
        self._network.cut = self._workload.cut_off = False
        try:
            with trio.CancelScope() as scope, _errors_told(self._erred):
                async with self._disk.open() as storage:
                    await self._serve(storage, scope, clients)
        except Exception as error:  # noqa: BLE001  # a life may end in any way; which are right is judged
            self._judge_end(error)
        self._open = False
        if self._watched is not None:
            self._doubtful = list(self._watched.under_way or ())
        self.trace.say("down")

    async def _serve(self, storage: Storage, scope: trio.CancelScope, clients: Any) -> None:
        await self._survey(storage)
        watched = self._watched = Watched(storage, self.observer.committed, self._reached)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reap, scope)
            async with open_engine(
                cast(Storage, watched),
                transport=self._network,
                signing_secrets=_SECRET,
                max_attempts=self.mix.max_attempts,
                grace=self.mix.grace,
                sizes=self.mix.sizes,
                random=Random(self._seed * 8 + 3 + self.observer.life * 1_000_003),  # noqa: S311
                wall=self._wall,
            ) as engine:
                self._open = True
                self.observer.starts.up(clock.now())
                self.trace.say("open")
                self._workload.enter(engine, nursery, watched)
                await clients()
                self._closing = True
                self._steps = 0
                self.trace.say("closing")
            self._open = False
            nursery.cancel_scope.cancel()

    async def _busy(self, *, first: bool) -> None:
        life = self._life
        assert life is not None  # noqa: S101  # set by `_live`
        if first:
            await self._workload.make_queues()
        await self._workload.run(life.share)
        await trio.sleep(life.lingers)
        if life.step is not None and not life.while_closing:
            self._doomed.set()
            await trio.sleep_forever()

    async def _quiet(self) -> None:
        """No more faults: everything ends."""
        await self._workload.resume_all()
        await self._workload.unschedule_all()
        for _ in range(ALL_ENDS_WITHIN):
            if not any(self.observer.rest.unended()):
                return
            await trio.sleep(1)
        for told in self.observer.rest.unended():
            self.observer.verdict.broken("everything ends", f"{told} for good")

    # -- the end of a life ----------------------------------------------------------------------------------
    async def _reap(self, scope: trio.CancelScope) -> None:
        await self._doomed.wait()
        life = self._life
        for _ in range(0 if life is None else life.checkpoints):
            await trio.lowlevel.checkpoint()
        self._crashed = True
        self.trace.fault("crash", life.step if life is not None else "")
        self._disk.crash()
        self._network.cut = self._workload.cut_off = True
        scope.cancel()

    def _reached(self, step: str) -> None:
        """A step of the engine, after which it may be over."""
        life = self._life
        if life is None or life.step != step or (life.while_closing and not self._closing):
            return
        self._steps += 1
        if self._steps == life.count:
            self._doomed.set()

    def _judge_end(self, error: Exception) -> None:
        if self._crashed:
            return
        watched = self._watched
        failing = watched is not None and watched.failing_for >= GIVES_UP_AFTER
        others = error.split(StorageError)[1] if isinstance(error, ExceptionGroup) else error
        if (others is None or isinstance(others, StorageError)) and failing:
            self.trace.fault("gave up")
            return
        told = "".join(traceback.format_exception(error))
        self.observer.verdict.broken("the engine lives", f"it ended with {error!r}\n{told}")

    def _erred(self, told: str) -> None:
        """The engine logged an error. What it logs while it is torn down says nothing."""
        if not self._crashed:
            self.observer.verdict.broken("nothing crashes within", told)

    # -- the disk -------------------------------------------------------------------------------------------
    async def _survey(self, storage: Storage) -> None:
        """Read everything there is, until that succeeds."""
        while True:
            try:
                found = await self._all_of(storage)
                wrong = await storage.audit()
                await self._wall.look(storage)
            except StorageUnavailableError:
                await trio.sleep(0.1)
            else:
                break
        self.observer.restarts.survey(found, self._doubtful)
        self._doubtful = []
        for text in wrong:
            self.observer.verdict.broken("counts are true", text)

    async def _all_of(self, storage: Storage) -> Survey:
        tasks, payloads = {}, {}
        for environment in Environment:
            page = await storage.list_tasks(TaskFilter(environment), limit=100_000, after="")
            for task in page.tasks:
                tasks[task.id] = task
                if task.id not in self.observer.ledger.rows:
                    stored = await storage.task(task.id)
                    payloads[task.id] = b"{}" if stored is None else stored.payload
        queues = {queue.key: queue for queue in await storage.queues()}
        schedules = {schedule.id: schedule for schedule in await storage.schedules()}
        return Survey(tasks, payloads, queues, schedules)

    # -- the network ----------------------------------------------------------------------------------------
    def _arrived(self, arrival: Arrival) -> None:
        self.observer.arrived(arrival)
        self._reached("arrived")

    def _left(self, arrival: Arrival) -> None:
        self.observer.left(arrival)
        self._reached("left")


class _Errors(logging.Handler):
    def __init__(self, told: Any) -> None:
        super().__init__(logging.ERROR)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self._told(f"{record.getMessage()}: {cause!r}")


@contextmanager
def _errors_told(told: Any) -> Iterator[None]:
    """What the engine logs as an error is a violation; what it logs at all is not for the terminal."""
    logger, handler = logging.getLogger("aq"), _Errors(told)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(handler)
