"""How clients ask: each request lives in a task of its own, and its answer is judged when it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeAlias

import trio

from aq.engine import Engine
from aq.errors import AsyncQueueError, ConflictError, NotFoundError
from aq.sim.clients import Clients
from aq.sim.ledger import Ask, Ledger
from aq.sim.watch import Watched
from aq.task import Environment, QueueKey, Status

Told: TypeAlias = Callable[[Any], None]


class Asking:
    """`enter` tells it of the engine that is up. ``told`` is called after each answer that says "done"."""

    def __init__(self, random: Random, ledger: Ledger, clients: Clients, told: Callable[[], None]) -> None:
        self._random = random
        self._ledger = ledger
        self._clients = clients
        self._told = told
        self._tasks: dict[str, QueueKey] = {}
        """Those that were acknowledged."""
        self.cut_off = False
        """No answer comes any more: the engine is dead."""
        self._engine: Engine
        self._nursery: trio.Nursery
        self._watched: Watched

    def enter(self, engine: Engine, nursery: trio.Nursery, watched: Watched) -> None:
        """The engine that is asked from now on, and the nursery that its clients live in."""
        self._engine, self._nursery, self._watched = engine, nursery, watched

    def _ask(self, what: str, name: str, **fields: Any) -> Ask:
        return self._clients.ask(what, QueueKey(Environment.LIVE, name), stamp=self._watched.stamp, **fields)

    def _begin(
        self, ask: Ask, call: Callable[[], Awaitable[Any]], done: Told, refused: Told = lambda error: None
    ) -> None:
        self._nursery.start_soon(self._perform, ask, call, done, refused)

    def _on_queue(self, what: str, name: str, call: Callable[[], Awaitable[Any]]) -> None:
        ask = self._ask(what, name)
        self._begin(ask, call, lambda _: self._clients.done(ask))

    async def _perform(
        self, ask: Ask, call: Callable[[], Awaitable[Any]], done: Told, refused: Told = lambda error: None
    ) -> None:
        try:
            answer = await call()
            if self.cut_off:
                await trio.sleep_forever()
        except AsyncQueueError as error:
            if self.cut_off:
                await trio.sleep_forever()
            self._clients.refused(ask, error)
            if isinstance(error, NotFoundError | ConflictError):
                refused(error)
        except trio.Cancelled:
            self._clients.lost(ask)
            raise
        else:
            done(answer)
            self._told()

    def _pick(self, what: str, status: Status | None = None) -> tuple[str, Environment, Ask] | None:
        """A task that was acknowledged, mostly one of the latest; if possible in that state."""
        rows = self._ledger.rows
        known = [
            task_id
            for task_id in self._tasks
            if status is None or (task_id in rows and rows[task_id].task.status is status)
        ] or list(self._tasks)
        if not known:
            return None
        task_id = self._random.choice(known[-6:] if self._random.random() < 0.7 else known)
        key = self._tasks[task_id]
        return (
            task_id,
            key.environment,
            self._clients.ask(what, key, task_id=task_id, stamp=self._watched.stamp),
        )
