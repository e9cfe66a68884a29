"""Tasks as clients ask for them, drawn from a seed."""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import frozen

from aq.sim.clock import now
from aq.sim.ledger import Ask, Ledger
from aq.sim.mix import Mix
from aq.task import Environment, NewTask, QueueKey

_SANDBOX, _LIVE = Environment.TEST, Environment.LIVE
_COMPARED = (*("webhook_url", "priority", "delay", "max_retries", "timeout", "ordering_key", "expires_in"),)


@frozen
class Request:
    """A task as a client asks for it, perhaps more than once."""

    ask: Ask
    new: NewTask


class Requests:
    """Draws them; the ledger knows each by its number, which is in its payload."""

    def __init__(self, mix: Mix, random: Random, ledger: Ledger) -> None:
        self._mix = mix
        self._random = random
        self._ledger = ledger
        self._names = list(mix.queues)
        self._number = 0

    def url(self) -> str:
        """Where a task may go."""
        return f"{self._random.choice(list(self._mix.hosts))}/hook"

    def request(self, *, sandbox: bool | None = None, **fixed: Any) -> Request:
        """A task of this world; its number is in its payload."""
        random, chosen = self._random, self._traits()
        self._number += 1
        if sandbox is None:
            sandbox = random.random() < self._mix.sandbox
        key = QueueKey(_SANDBOX if sandbox else _LIVE, random.choice(self._names))
        fields = {**chosen, "webhook_url": self.url(), **fixed}
        new = NewTask(key.name, payload={"n": self._number}, **fields)
        ask = Ask("task", key, now(), number=self._number)
        ask.fields = {name: getattr(new, name) for name in _COMPARED}
        self._ledger.requests[self._number] = ask
        return Request(ask, new)

    def _traits(self) -> dict[str, Any]:
        random, chances = self._random, self._mix.traits
        delay = random.choice((1, 2, 5)) if random.random() < chances["delay"] else 0
        drawn: dict[str, Any] = {
            "delay": delay,
            "priority": random.choice((1, 4, 5, 6, 10)),
            "ordering_key": random.choice(("k", "l")),
            "expires_in": delay + random.choice((1, 2, 4, 30)),
            "callback_url": self.url().replace("/hook", "/told"),
            "max_retries": random.choice((0, 1, 2)),
            "timeout": random.choice((1, 3)),
            "idempotency_key": f"name {self._number}",
        }
        return {
            name: value for name, value in drawn.items() if random.random() < chances[name] or name == "delay"
        }
