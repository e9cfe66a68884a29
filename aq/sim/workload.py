"""What clients do: operations at the engine's front door, drawn from a seed; each answer is judged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import Random
from typing import Any, TypeAlias

import trio
from attrs import frozen

from aq.engine import Engine
from aq.errors import AsyncQueueError, ConflictError, NotFoundError
from aq.policy import RateLimit
from aq.queues import Retry
from aq.sim.clients import Clients
from aq.sim.clock import now
from aq.sim.ledger import Ask
from aq.sim.mix import CHANGES, Mix
from aq.sim.observer import Observer
from aq.sim.watch import Watched
from aq.task import Environment, NewTask, QueueKey, Status

Told: TypeAlias = Callable[[Any], None]
_LONGEST_WAIT = 30
_SANDBOX, _LIVE = Environment.TEST, Environment.LIVE


@frozen
class Request:
    """A task as a client asks for it, perhaps more than once."""

    ask: Ask
    new: NewTask


class Workload:
    """Lives as long as the world; `enter` tells it of the engine that is up."""

    def __init__(self, mix: Mix, random: Random, observer: Observer, clients: Clients) -> None:
        self._mix = mix
        self._random = random
        self._observer = observer
        self._clients = clients
        self._names = list(mix.queues)
        self._operations = {name.replace(" ", "_"): weight for name, weight in mix.operations.items()}
        self._tasks: dict[str, QueueKey] = {}
        self._named: list[Request] = []
        """Requests with an idempotency key."""
        self._schedules: list[str] = []
        self._number = 0
        self._left = mix.total
        self.cut_off = False
        """No answer comes any more: the engine is dead."""
        self._engine: Engine
        self._nursery: trio.Nursery
        self._watched: Watched

    def enter(self, engine: Engine, nursery: trio.Nursery, watched: Watched) -> None:
        """The engine that is asked from now on, and the nursery that its clients live in."""
        self._engine, self._nursery, self._watched = engine, nursery, watched

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
        request = self._request()
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
            request = self._request(idempotency_key=name, sandbox=request.ask.key.environment is _SANDBOX)
        self._send(request)

    def _send(self, request: Request) -> None:
        first, name, key = request.ask, request.new.idempotency_key, request.ask.key
        ask = self._clients.ask("submit", key, number=first.number)
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
            self._request(idempotency_key=None, sandbox=sandbox)
            for _ in range(self._random.choice((2, 4, 9)))
        ]
        key = requests[0].ask.key
        ask = self._clients.ask("batch", key)
        self._observer.ledger.batches.append([request.ask.number for request in requests])

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
        waits = self._observer.rest.waits
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

    def _on_queue(self, what: str, name: str, call: Callable[[], Awaitable[Any]]) -> None:
        ask = self._ask(what, name)
        self._begin(ask, call, lambda _: self._clients.done(ask))

    # -- schedules ------------------------------------------------------------------------------------------
    def _schedule(self) -> None:
        name = self._random.choice(self._names)
        fields: dict[str, Any] = {
            "every": self._random.choice((1, 3, 10)),
            "overlap": self._random.choice(("allow", "skip")),
            "catch_up": self._random.choice(("none", "last", "all")),
            "task": {"queue": name, "webhook_url": self._url(), "payload": {}},
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

    # -- within ---------------------------------------------------------------------------------------------
    def _ask(self, what: str, name: str, **fields: Any) -> Ask:
        return self._clients.ask(what, QueueKey(_LIVE, name), stamp=self._watched.stamp, **fields)

    def _begin(
        self, ask: Ask, call: Callable[[], Awaitable[Any]], done: Told, refused: Told = lambda error: None
    ) -> None:
        self._nursery.start_soon(self._perform, ask, call, done, refused)

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

    def _pick(self, what: str, status: Status | None = None) -> tuple[str, Environment, Ask] | None:
        """A task that was acknowledged, mostly one of the latest; if possible in that state."""
        rows = self._observer.ledger.rows
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

    def _url(self) -> str:
        return f"{self._random.choice(list(self._mix.hosts))}/hook"

    def _request(self, *, sandbox: bool | None = None, **fixed: Any) -> Request:
        """A task of this world; its number is in its payload."""
        random, chosen = self._random, self._traits()
        self._number += 1
        if sandbox is None:
            sandbox = random.random() < self._mix.sandbox
        key = QueueKey(_SANDBOX if sandbox else _LIVE, random.choice(self._names))
        fields = {**chosen, "webhook_url": self._url(), **fixed}
        new = NewTask(key.name, payload={"n": self._number}, **fields)
        ask = Ask("task", key, now(), number=self._number)
        ask.fields = {name: getattr(new, name) for name in _COMPARED}
        self._observer.asked[self._number] = ask
        return Request(ask, new)

    def _traits(self) -> dict[str, Any]:
        random, chances = self._random, self._mix.traits
        delay = random.choice((1, 2, 5)) if random.random() < chances["delay"] else 0
        drawn: dict[str, Any] = {
            "delay": delay,
            "priority": random.choice((1, 4, 5, 6, 10)),
            "ordering_key": random.choice(("k", "l")),
            "expires_in": delay + random.choice((1, 2, 4, 30)),
            "callback_url": self._url().replace("/hook", "/told"),
            "max_retries": random.choice((0, 1, 2)),
            "timeout": random.choice((1, 3)),
            "idempotency_key": f"name {self._number}",
        }
        return {
            name: value for name, value in drawn.items() if random.random() < chances[name] or name == "delay"
        }


_COMPARED = (*("webhook_url", "priority", "delay", "max_retries", "timeout", "ordering_key", "expires_in"),)


def _kept(fields: Any) -> dict[str, Any]:
    """The fields of a policy as they are kept."""
    kept = dict(fields)
    if isinstance(kept.get("rate_limit"), dict):
        kept["rate_limit"] = RateLimit(**kept["rate_limit"])
    return kept
