"""A client without a network: replies come from a script, time passes by what is slept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import define, field

from aq.client.call import Reply
from aq.client.core import Core, Request, Send, Sleep, Step
from aq.client.drivers import Sync
from aq.client.errors import APIError, ConnectionFailed
from aq.client.keys import Keys
from aq.client.queues import Queues
from aq.client.tasks import Tasks

TASK = {
    "id": "task_1",
    "queue": "q",
    "status": "pending",
    "priority": 5,
    "delay": 0,
    "created_at": "2026-01-31T09:30:00.000000Z",
}


def reply(status: int = 200, body: object = TASK, **headers: str) -> Reply:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, told, b"" if body is None else json.dumps(body).encode())


def broken(*, sent: bool = True) -> ConnectionFailed:
    error = ConnectionFailed("broken")
    error.sent = sent
    return error


@define
class World:
    """What was sent and slept; ``takes`` are seconds that each exchange takes."""

    answers: list[Reply | APIError]
    takes: float = 0
    chance: float = 1
    now: float = 1_000
    sent: list[Request] = field(factory=list)
    timeouts: list[float] = field(factory=list)
    slept: list[float] = field(factory=list)

    @classmethod
    def of(cls, *answers: Reply | APIError, **options: Any) -> World:
        return cls(list(answers), **options)

    def core(self, **options: Any) -> Core:
        defaults = {"timeout": 10, "deadline": 60, "max_retries": 2}
        return Core(
            base_url="http://aq",
            api_key="aq_live_secret",
            clock=lambda: self.now,
            chance=lambda: self.chance,
            **{**defaults, **options},
        )

    @property
    def driver(self) -> Sync:
        return Scripted(self)  # type: ignore[arg-type]  # it needs no HTTP client

    def tasks(self, **options: Any) -> Tasks[Sync]:
        return Tasks(self.core(**options), self.driver)

    def queues(self) -> Queues[Sync]:
        return Queues(self.core(), self.driver)

    def apikeys(self) -> Keys[Sync]:
        return Keys(self.core(), self.driver)

    @property
    def keys(self) -> Sequence[str | None]:
        """The idempotency keys that were sent."""
        return [request.headers.get("Idempotency-Key") for request in self.sent]


class Scripted(Sync):
    """Does steps in a `World`."""

    def done(self, step: Step) -> Any:
        world: World = self.http  # type: ignore[assignment]
        match step:
            case Sleep():
                world.slept.append(step.seconds)
                world.now += step.seconds
                return None
            case Send():
                world.sent.append(step.request)
                world.timeouts.append(step.timeout)
                world.now += world.takes
                answer = world.answers.pop(0)
                if isinstance(answer, Reply):
                    return answer
                raise answer
