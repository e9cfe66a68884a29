"""A Trio run that a synchronous test drives step by step, on a clock that moves only when told to."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

import trio
import trio.testing

T = TypeVar("T")


class TrioSession:
    """``trio.run`` in a thread of its own, open for as long as a Hypothesis machine needs it.

    `run` runs one async function inside, then waits until every task there is blocked: whatever the step
    set off has come to rest. Nothing in there may use threads or sockets, or "blocked" would not mean "at
    rest".
    """

    def __init__(self) -> None:
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.clock = trio.testing.MockClock()
        self.error: BaseException | None = None

    def __enter__(self) -> TrioSession:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(trio.RunFinishedError):
            trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join()
        if self.error is not None and error is None:
            raise self.error

    def run(self, step: Callable[[], Awaitable[T]]) -> T:
        """One step; its result, or what it raised, or what a background task has died of."""
        try:
            return trio.from_thread.run(self._settled, step, trio_token=self._token)
        except (trio.Cancelled, trio.RunFinishedError):
            self._thread.join()
            raise self.error or AssertionError("the session is over") from None

    @staticmethod
    async def _settled(step: Callable[[], Awaitable[T]]) -> T:
        result = await step()
        await trio.testing.wait_all_tasks_blocked()
        return result

    def _serve(self) -> None:
        try:
            trio.run(self._main, clock=self.clock)
        except BaseException as error:  # noqa: BLE001  # raised again by whoever leaves the session
            self.error = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self.nursery:
            self._started.set()
            await self._stop.wait()
            self.nursery.cancel_scope.cancel()
