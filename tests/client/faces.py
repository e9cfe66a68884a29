"""A client's scenario, written once and run by each kind of client: blocking, on Trio, on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import trio

from aq import AsyncClient, Client
from tests.server.serve_world import KEY, Serving, serving

RECEIVER = "/dev/receiver"


async def go(answer: Any) -> Any:
    """What a method gave: it is there, or is awaited; of a list every item."""
    if isinstance(answer, Awaitable):
        return await answer
    if hasattr(answer, "__aiter__"):
        return [item async for item in answer]
    return list(answer) if hasattr(answer, "__next__") or hasattr(answer, "pages") else answer


Scenario: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]
"""Takes a client of any kind; awaits nothing but `go`."""


async def blocking(scenario: Scenario, *args: Any, **options: Any) -> None:
    """By a `Client` in a thread: nothing in the scenario ever waits, so one step is all of it."""

    def run() -> None:
        with Client(*args, **options) as client:
            try:
                scenario(client).send(None)
            except StopIteration:
                return
        raise AssertionError("the scenario waits for something that is not a blocking call")

    await trio.to_thread.run_sync(run)


async def _with_client(scenario: Scenario, *args: Any, **options: Any) -> None:
    async with AsyncClient(*args, **options) as client:
        await scenario(client)


async def on_trio(scenario: Scenario, *args: Any, **options: Any) -> None:
    await _with_client(scenario, *args, **options)


async def on_asyncio(scenario: Scenario, *args: Any, **options: Any) -> None:
    await trio.to_thread.run_sync(
        partial(asyncio.run, _with_client(scenario, *args, **options)), abandon_on_cancel=False
    )


FACES = [blocking, on_trio, on_asyncio]


@asynccontextmanager
async def service(**settings: Any) -> AsyncIterator[Serving]:
    """A whole service on a free port, with a receiver; KEY may do everything."""
    async with serving(storage="memory:", dev=True, api_key=KEY, **settings) as server:
        yield server
