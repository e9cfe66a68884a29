"""The whole engine on a machine whose power goes in its midst, again and again; judged from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import trio
from attrs import define, field

from aq.delivery.protocol import Delivery
from aq.engine import Engine
from aq.errors import AsyncQueueError, ConflictError, NotFoundError, StorageCorruptError, StorageError
from aq.outcome import Outcome
from aq.storage.sqlite import open_sqlite
from aq.task import Status
from tests.engine.support import FAILURE, SUCCESS, inline, submit, up
from tests.powercut.connection import CARELESS, connecting
from tests.powercut.cuts import Tally
from tests.powercut.judge import Violation, put
from tests.powercut.life import small_sizes, varied
from tests.powercut.machine import STORE, Machine, Moment, NoPowerError, running
from tests.powercut.platter import Files, Platter

LIVES: Final = 6
"""Cuts of one seed."""
_OPERATIONS: Final = 600
"""Of one life, at most."""
_CLIENTS: Final = 4
_LONG: Final = 100_000
"""Seconds of virtual time in which everything comes to its end."""
USELESS: Final = (StorageError, StorageCorruptError)
"""What a storage says that cannot be used any more."""


@define
class Outside:
    """What clients were told and the receiver saw. Times do not matter, only what came before what."""

    random: Random
    acknowledged: set[str] = field(factory=set)
    asked_to_delete: set[str] = field(factory=set)
    deleted: set[str] = field(factory=set)
    completed: set[str] = field(factory=set)
    """Seen by a client in the state completed."""
    wrong: list[str] = field(factory=list)

    async def receive(self, delivery: Delivery) -> Outcome:
        """The runner."""
        for kind, gone in (("deleted", self.deleted), ("completed", self.completed)):
            if delivery.task_id in gone:
                self.wrong.append(f"{delivery.task_id} was delivered after it was told to be {kind}")
        await trio.sleep(self.random.choice([0, 0.01, 0.5]))
        return FAILURE if self.random.random() < 0.3 else SUCCESS

    async def ask(self, engine: Engine) -> None:
        """One client: submits, deletes and looks, until the power goes."""
        while True:
            await trio.sleep(self.random.choice([0, 0, 0.05, 1]))
            try:
                await self.random.choice([self._submit, self._submit, self._delete, self._look])(engine)
            except (ConflictError, NotFoundError):
                continue  # somebody was quicker

    async def _submit(self, engine: Engine) -> None:
        task = await submit(
            engine,
            self.random.choice(["q", "r"]),
            delay=self.random.choice([0, 0, 2, 30]),
            ordering_key=self.random.choice([None, None, "k"]),
            max_retries=2,
        )
        self.acknowledged.add(task.id)

    async def _delete(self, engine: Engine) -> None:
        if self.acknowledged:
            task_id = self.random.choice(sorted(self.acknowledged))
            self.asked_to_delete.add(task_id)
            await engine.delete(task_id)
            self.deleted.add(task_id)

    async def _look(self, engine: Engine) -> None:
        if known := sorted(self.acknowledged - self.asked_to_delete):
            task_id = self.random.choice(known)
            if (await engine.get(task_id)).task.status is Status.COMPLETED:
                self.completed.add(task_id)

    async def judge(self, engine: Engine) -> None:
        """Every task that nobody asked to delete comes to its end. Raises Violation."""
        with trio.move_on_after(_LONG) as limit:
            for task_id in sorted(self.acknowledged):
                try:
                    view = await engine.wait(task_id)
                except NotFoundError:
                    if task_id not in self.asked_to_delete:
                        self.wrong.append(f"{task_id} was acknowledged and is gone")
                else:
                    if task_id in self.deleted:
                        self.wrong.append(f"{task_id} was deleted and is there")
                    if task_id in self.completed and view.task.status is not Status.COMPLETED:
                        self.wrong.append(f"{task_id} was completed and is {view.task.status}")
        if limit.cancelled_caught:
            self.wrong.append(f"{task_id} has not ended: {(await engine.explain(task_id)).reasons}")
        if self.wrong:
            raise Violation(self.wrong[0])


async def cut_engines(
    seed: int, directory: Path, tally: Tally, *, arrange: Callable[[Machine], object] = lambda machine: None
) -> Outside:
    """Lives of one engine, each but the last ended by a cut. Raises Violation. On a virtual clock only."""
    random = Random(seed)
    outside = Outside(random)
    files: Files = {}
    with small_sizes(random):
        for number in range(LIVES):
            machine = varied(Machine(directory / f"machine-{number}" / STORE), random)
            arrange(machine)
            try:
                files = await _life(machine, files, outside)
            except (*USELESS, ExceptionGroup) as error:
                raise _violation(error) from error
            tally.count("engine")
        put(files, directory / "last")
        connect = connecting(replaced=CARELESS)
        async with open_sqlite(str(directory / "last" / STORE), connect=connect, hop=inline) as storage:
            async with up(storage, outside.receive) as engine:
                await outside.judge(engine)
            if wrong := await storage.audit():
                raise Violation(f"the audit says: {wrong[0]}")
    return outside


def _violation(error: Exception) -> Exception:
    """After a cut the store can be used. Any other error is returned as it is."""
    damage = error.split(USELESS)[0] if isinstance(error, ExceptionGroup) else error
    return Violation(f"after a cut the store cannot be used: {damage}") if damage is not None else error


async def _life(machine: Machine, born: Files, outside: Outside) -> Files:
    """An engine and its clients until the power goes; returns what is left on the disk."""
    left, last = outside.random.randrange(_OPERATIONS), None

    def plan(moment: Moment | None) -> None:
        nonlocal left, last
        if moment is not None:
            left, last = left - 1, moment.operation
            if left < 0:
                raise NoPowerError

    platter = Platter(born)
    machine.plan, machine.done = plan, lambda moment: platter.apply(moment.operation)
    put(born, machine.path.parent)
    with running(machine), trio.CancelScope() as power:
        machine.off = power.cancel
        try:
            async with (
                open_sqlite(str(machine.path), connect=machine.connect, hop=inline) as storage,
                up(storage, outside.receive) as engine,
                trio.open_nursery() as nursery,
            ):
                for _ in range(_CLIENTS):
                    nursery.start_soon(outside.ask, engine)
        except* AsyncQueueError:
            if machine.powered:
                raise
    return platter.surviving(outside.random, last)
