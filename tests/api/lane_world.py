"""One and the same world with the lane and without: clients over streams in memory, time and chance alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import trio
import trio.testing
from attrs import frozen

from aq.api.front import Front, open_front
from aq.storage.memory import MemoryStorage
from aq.storage.protocol import Storage
from benchmarks.fuzz.exchange import Answer, Answers
from tests.api.api_world import KEY, Api, open_api
from tests.api.streams import ServerSide

KEYS = {
    "limited": {"rate_limit_per_minute": 3},
    "reader": {"scopes": ["read"]},
    "mine": {"queues": ["mine"]},
    "sandbox": {"environment": "test"},
}


@frozen
class Client:
    stream: trio.StapledStream[Any, Any]
    answers: Answers
    ended: trio.Event

    async def send(self, data: bytes) -> None:
        """And wait until nothing more happens of itself."""
        await self.stream.send_all(data)
        await trio.testing.wait_all_tasks_blocked()

    async def send_if_it_can(self, data: bytes) -> None:
        """To a server that may end before."""
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            return

    async def listen(self) -> None:
        try:
            async for data in self.stream:
                self.answers.receive(bytes(data))
        except trio.ClosedResourceError:
            return  # it went away itself
        self.ended.set()


@frozen
class World:
    api: Api
    front: Front
    nursery: trio.Nursery
    keys: dict[str, str]
    seen: list[str]
    """The paths of the requests that came to the app."""

    def connect(self, methods: Sequence[str] = ()) -> Client:
        return connected(self.nursery, self.front, methods)

    def with_key(self, request: bytes, key: str) -> bytes:
        return request.replace(KEY.encode(), self.keys[key].encode())


def connected(nursery: trio.Nursery, front: Front, methods: Sequence[str] = ()) -> Client:
    """A client of this front; ``methods`` matter for HEAD."""
    ours, theirs = trio.testing.memory_stream_pair()
    client = Client(ours, Answers(methods), trio.Event())
    nursery.start_soon(front.serve, ServerSide(theirs))
    nursery.start_soon(client.listen)
    return client


@asynccontextmanager
async def open_world(*, lane: bool = True, storage: Storage | None = None) -> AsyncIterator[World]:
    """To be opened on Trio's mock clock."""

    def wall() -> float:
        return 1_800_000_000 + trio.current_time()

    async with open_api(storage=storage or MemoryStorage(), random=Random(1), wall=wall) as api:
        made = {name: (await api.engine.keys.create(name, **fields))[1] for name, fields in KEYS.items()}  # type: ignore[arg-type]
        seen: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                seen.append(scope["path"])
            await api.app(scope, receive, send)

        async with (
            trio.open_nursery() as nursery,
            open_front(app, [], lane=api.lane if lane else None) as front,
        ):
            yield World(api, front, nursery, made, seen)


def in_virtual_time(main: Callable[..., Any], *args: Any) -> Any:
    """For tests whose examples each have a run of their own."""
    return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))


def told(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """All that a client can see, but the date and an id that chance made."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    if not headers.get("x-request-id", "").startswith("mine-"):
        headers["x-request-id"] = "*" * len(headers["x-request-id"])
    return answer.status, headers, answer.body
