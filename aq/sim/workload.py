"""What clients do: operations at the engine's front door, drawn from a seed; each answer is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

import trio

from aq.errors import AsyncQueueError
from aq.policy import RateLimit
from aq.queues import Retry
from aq.sim.clients import Clients
from aq.sim.ledger import Ask
from aq.sim.mix import CHANGES, Mix
from aq.sim.observer import Observer
from aq.sim.requests import Request
from aq.sim.rhythms import Rhythms
from aq.task import Environment, Status

_LONGEST_WAIT = 30
_SANDBOX, _LIVE = Environment.TEST, Environment.LIVE


class Workload(Rhythms):
    """Lives as long as the world."""

    def __init__(
        self,
        mix: Mix,
        random: Random,
        observer: Observer,
        clients: Clients,
        told: Callable[[], None],
    ) -> None:
        super().__init__(mix, random, observer.ledger, clients, told)
        self._mix = mix
        self._waits = observer.rest.waits
        self._operations = {name.replace(" ", "_"): weight for name, weight in mix.operations.items()}
        self._named: list[Request] = []
        """Requests with an idempotency key."""
        self._left = mix.total

    async def make_queues(self) -> None:
        """As the world has them at first."""
        for name, fields in self._mix.queues.items():
            if self._random.random() < 0.8:
                await self._make(name, fields)

    async def _make(self, name: str, fields: Mapping[str, Any]) -> None:
        ask = self._ask("configure", name, **_kept(fields))
        create = partial(self._engine.queues.create, name, **fields)
        await self._perform(ask, create, lambda queue: self._clients.done(ask))

    async def run(self, share: float) -> None:
        """So many of the operations that are left, some of them at once."""
        names, weights = list(self._operations), list(self._operations.values())
        for _ in range(round(share * self._left)):
            self._left -= 1
            if self._random.random() >= self._mix.bursts:
                await trio.sleep(self._random.expovariate(1 / self._mix.gap))
            (name,) = self._random.choices(names, weights)
            getattr(self, f"_{name}")()

    async def resume_all(self) -> None:
        """Nothing is paused any more. Who is refused for now asks again."""
        queues = await self._engine.queues.list()
        while queues:
            for queue in queues:
                await self._resume_one(queue.key.name)
            queues = [queue for queue in await self._engine.queues.list() if queue.policy.paused]
            if queues:
                await trio.sleep(1)

    async def _resume_one(self, name: str) -> None:
        ask = self._ask("configure", name, paused=False)
        resume = partial(self._engine.queues.resume, name)
        await self._perform(ask, resume, lambda queue: self._clients.configured(ask))

    # -- tasks ----------------------------------------------------------------------------------------------
    def _submit(self) -> None:
        request = self._requests.request()
        if request.new.idempotency_key is not None:
            self._named.append(request)
        self._send(request)

    def _repeat(self) -> None:
        """The same request once more; now and then another one by its name."""
        if not self._named:
            return
        request = self._random.choice(self._named[-4:])
        if self._random.random() < 0.2:
            name = request.new.idempotency_key
            request = self._requests.request(
                idempotency_key=name, sandbox=request.ask.key.environment is _SANDBOX
            )
        self._send(request)

    def _send(self, request: Request) -> None:
        first, name, key = request.ask, request.new.idempotency_key, request.ask.key
        ask = self._clients.ask("submit", key, number=first.number, named=name is not None)
        ask.number = first.number

        def done(task: Any) -> None:
            self._tasks[task.id] = key
            if name is None:
                self._clients.submitted(ask, task)
            else:
                self._clients.claimed(ask, name, task, self._watched.stamp)

        def conflicted(error: AsyncQueueError) -> None:
            if name is not None:
                self._clients.conflicted(ask, name)

        self._begin(
            ask,
            lambda: self._engine.submit(request.new, environment=key.environment),
            done,
            conflicted,
        )

    def _batch(self) -> None:
        sandbox = self._random.random() < self._mix.sandbox
        requests = [
            self._requests.request(idempotency_key=None, sandbox=sandbox)
            for _ in range(self._random.choice((2, 4, 9)))
        ]
        key = requests[0].ask.key
        ask = self._clients.ask("batch", key)
        self._ledger.batches.append([request.ask.number for request in requests])

        def done(answered: Any) -> None:
            self._clients.done(ask)
            for request, receipt in zip(requests, answered.value, strict=True):
                self._tasks[receipt.task.id] = request.ask.key
                self._clients.submitted(request.ask, receipt.task)

        news = [request.new for request in requests]
        self._begin(ask, lambda: self._engine.submit_all(news, environment=key.environment), done)

    def _delete(self) -> None:
        if picked := self._pick("delete"):
            task_id, environment, ask = picked
            self._begin(
                ask,
                lambda: self._engine.delete(task_id, environment=environment),
                lambda _: self._clients.deleted(ask),
            )

    def _retry(self) -> None:
        if picked := self._pick("retry", Status.FAILED):
            task_id, environment, ask = picked
            self._begin(
                ask,
                lambda: self._engine.retry(task_id, environment=environment),
                lambda _: self._clients.retried(ask),
            )

    def _get(self) -> None:
        if picked := self._pick("get"):
            task_id, environment, ask = picked
            self._begin(
                ask,
                lambda: self._engine.get(task_id, environment=environment),
                lambda view: self._clients.read(ask, view, self._watched.stamp),
                lambda error: self._clients.missed(ask, self._watched.stamp),
            )

    def _explain(self) -> None:
        if picked := self._pick("explain"):
            task_id, environment, ask = picked
            self._begin(
                ask,
                lambda: self._engine.explain(task_id, environment=environment),
                lambda told: self._clients.explained(ask, told),
            )

    def _wait(self) -> None:
        if picked := self._pick("wait"):
            self._nursery.start_soon(self._wait_for, *picked)

    async def _wait_for(self, task_id: str, environment: Environment, ask: Ask) -> None:
        waits = self._waits
        waits[id(ask)] = ask
        try:
            with trio.move_on_after(_LONGEST_WAIT) as scope:
                await self._perform(
                    ask,
                    lambda: self._engine.wait(task_id, environment=environment),
                    lambda view: self._clients.waited(ask, view),
                )
            if scope.cancelled_caught:
                self._clients.done(ask, "not yet")
        finally:
            del waits[id(ask)]

    # -- queues ---------------------------------------------------------------------------------------------
    def _purge(self) -> None:
        name = self._random.choice(self._names)
        ask = self._ask("purge", name)
        self._begin(
            ask, lambda: self._engine.queues.purge(name), lambda count: self._clients.purged(ask, count)
        )

    def _retry_all(self) -> None:
        name, limit = self._random.choice(self._names), self._random.choice((None, None, 1, 2))
        self._on_queue("retry all", name, lambda: self._engine.queues.retry(name, Retry(limit=limit)))

    def _pause(self) -> None:
        self._configure({"paused": True})

    def _resume(self) -> None:
        self._configure({"paused": False})

    def _configure(self, fields: dict[str, Any] | None = None) -> None:
        name = self._random.choice(self._names)
        if fields is None:
            if not self._mix.changing:
                return
            field = self._random.choice(self._mix.changing)
            fields = {field: self._random.choice(CHANGES[field])}
        ask = self._ask("configure", name, **_kept(fields))
        self._begin(
            ask,
            lambda: self._engine.queues.update(name, **fields),
            lambda queue: self._clients.configured(ask),
        )

    def _drop(self) -> None:
        name = self._random.choice(self._names)
        self._on_queue("drop", name, lambda: self._engine.queues.delete(name))

    def _list(self) -> None:
        name = self._random.choice(self._names)
        status = self._random.choice((None, *Status))
        ask = self._ask("list", name)
        self._begin(
            ask,
            lambda: self._engine.list(queue=name, status=status),
            lambda page: self._clients.listed(ask, page, status, self._watched.stamp),
        )


def _kept(fields: Any) -> dict[str, Any]:
    """The fields of a policy as they are kept."""
    kept = dict(fields)
    if isinstance(kept.get("rate_limit"), dict):
        kept["rate_limit"] = RateLimit(**kept["rate_limit"])
    return kept
