"""Between the engine and its storage: what is under way, and what each commit that returned has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import trio

from aq.errors import StorageFullError, StorageUnavailableError
from aq.instants import Instant
from aq.storage.answers import Answer
from aq.storage.changes import Unit
from aq.storage.protocol import Storage

UNEASY: Final = 0.3
"""Seconds after a failed call within which it is made again."""


class Watched:
    """A storage that passes everything on, and tells of it. To be cast to `aq.storage.protocol.Storage`.

    ``committed`` hears of every commit that returned; ``reached`` is called with the name of a step ("call",
    "commit", "committed", "returned") whenever one is reached.
    """

    def __init__(
        self,
        storage: Storage,
        committed: Callable[[Sequence[Unit], Sequence[Answer]], None],
        reached: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._committed = committed
        self._reached = reached
        self.calls_under_way = 0
        self.commits_begun = 0
        self.under_way: Sequence[Unit] | None = None
        """The units of the commit that has begun and not returned, also after it has raised."""
        self.failed_at = -1e9
        """When a call failed last, in Trio's time."""
        self.full = False
        self._failing_since: float | None = None

    @property
    def failing_for(self) -> float:
        """Seconds since the first of the failures that nothing has succeeded after."""
        return 0 if self._failing_since is None else trio.current_time() - self._failing_since

    @property
    def stamp(self) -> int:
        """Changes whenever a commit begins or ends; odd while one is under way."""
        return 2 * self.commits_begun - (self.under_way is not None)

    @property
    def quiet(self) -> bool:
        """No call is under way, and none is about to be made again."""
        rested = trio.current_time() > self.failed_at + UNEASY
        return not self.calls_under_way and not self.full and rested

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        self.commits_begun += 1
        self.calls_under_way += 1
        self.under_way = units
        self._reached("commit")
        try:
            answers = await self._storage.commit(units, now)
        except StorageFullError:
            self.full, self.under_way, self.failed_at = True, None, trio.current_time()
            raise
        except StorageUnavailableError:
            self._failed()
            raise
        finally:
            self.calls_under_way -= 1
        self.full, self.under_way, self._failing_since = False, None, None
        self._committed(units, answers)
        self._reached("committed")
        return answers

    def __getattr__(self, name: str) -> Any:
        """A read, counted while it is under way."""
        found = getattr(self._storage, name)
        if not callable(found):
            return found

        async def read(*args: Any, **options: Any) -> Any:
            self.calls_under_way += 1
            self._reached("read")
            try:
                return await found(*args, **options)
            except StorageUnavailableError:
                self._failed()
                raise
            finally:
                self.calls_under_way -= 1

        return read

    def _failed(self) -> None:
        self.failed_at = trio.current_time()
        if self._failing_since is None:
            self._failing_since = self.failed_at
