"""A storage that fails for a moment is asked again; one that keeps failing is given up."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from aq.errors import (
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

logger = logging.getLogger(__name__)

PAUSE: Final = 0.2
"""Seconds before a failed call is made again."""
MAX_TRIES: Final = 50
"""Failures in a row after which the storage is given up."""

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What ``call`` gives, made again while it raises StorageUnavailableError.

    A full disk and damage are not matters of a moment: they are raised at once. Raises StorageError after
    `MAX_TRIES` failures, which ends the engine.
    """
    for _ in range(MAX_TRIES):
        try:
            return await call()
        except (StorageFullError, StorageCorruptError):
            raise
        except StorageUnavailableError as error:
            logger.warning("the storage failed (%s), trying again", error)
            await trio.sleep(PAUSE)
    raise StorageError(f"the storage failed {MAX_TRIES} times in a row; giving up")
