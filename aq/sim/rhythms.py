"""What clients do with schedules."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from aq.sim.asking import Asking
from aq.sim.clients import Clients
from aq.sim.ledger import Ask, Ledger
from aq.sim.mix import Mix
from aq.sim.requests import Requests


class Rhythms(Asking):
    """Of the queues of a world, two schedules at a time."""

    def __init__(
        self, mix: Mix, random: Random, ledger: Ledger, clients: Clients, told: Callable[[], None]
    ) -> None:
        super().__init__(random, ledger, clients, told)
        self._names = list(mix.queues)
        self._requests = Requests(mix, random, ledger)
        self._schedules: list[str] = []

    def _schedule(self) -> None:
        name = self._random.choice(self._names)
        fields: dict[str, Any] = {
            "every": self._random.choice((1, 3, 10)),
            "overlap": self._random.choice(("allow", "skip")),
            "catch_up": self._random.choice(("none", "last", "all")),
            "task": {"queue": name, "webhook_url": self._requests.url(), "payload": {}},
        }
        if len(self._schedules) < 2:
            ask = self._ask("schedule", name)
            self._begin(
                ask, lambda: self._engine.schedules.create(**fields), lambda made: self._scheduled(ask, made)
            )

    def _scheduled(self, ask: Ask, made: Any) -> None:
        self._clients.done(ask, made.id)
        self._schedules.append(made.id)

    def _run(self) -> None:
        if self._schedules:
            schedule_id = self._random.choice(self._schedules)
            self._on_queue("run", self._names[0], lambda: self._engine.schedules.run(schedule_id))

    def _unschedule(self) -> None:
        if self._schedules:
            schedule_id = self._schedules.pop(0)
            self._on_queue("unschedule", self._names[0], lambda: self._engine.schedules.delete(schedule_id))

    async def unschedule_all(self) -> None:
        """So that all can end."""
        for schedule in await self._engine.schedules.list():
            await self._engine.schedules.delete(schedule.id)
