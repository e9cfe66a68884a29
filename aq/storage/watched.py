"""A storage whose commits are timed and whose errors are counted: the same methods, whatever it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, Final, cast

import trio

from aq.errors import StorageCorruptError, StorageError, StorageFullError, StorageUnavailableError
from aq.storage.protocol import Storage
from aq.totals import ERRORS, StorageTotals

_KINDS: Final = (StorageFullError, StorageCorruptError, StorageUnavailableError, StorageError)
"""Counted as `ERRORS`; an error is of the first kind that it is one of."""


def watched(storage: Storage, totals: StorageTotals) -> Storage:
    """The storage, as far as anybody can tell; ``totals`` knows of it."""
    return cast(Storage, _Watched(storage, totals))


class _Watched:
    def __init__(self, storage: Storage, totals: StorageTotals) -> None:
        self._storage = storage
        self._totals = totals

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if not iscoroutinefunction(found):
            return found  # a property: asked for anew each time
        counted = self._counted(found)
        setattr(self, name, self._timed(counted) if name == "commit" else counted)
        return getattr(self, name)

    def _counted(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return await method(*args, **kwargs)
            except (StorageError, StorageUnavailableError) as error:
                kinds = zip(_KINDS, ERRORS, strict=True)
                self._totals.errors[next(name for kind, name in kinds if isinstance(error, kind))] += 1
                raise

        return call

    def _timed(self, commit: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(units: Any, *args: Any) -> Any:
            began = trio.current_time()
            self._totals.units.add(len(units))
            try:
                return await commit(units, *args)
            finally:
                self._totals.took_us.add(round((trio.current_time() - began) * 1_000_000))

        return call
