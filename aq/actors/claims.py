"""Requests with an idempotency key: done once, whoever repeats them and whenever within a day."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from attrs import frozen

from aq.claiming import Claiming, fingerprint
from aq.clock import ServiceClock
from aq.errors import ConflictError, FieldError, NotFoundError, ValidationError
from aq.storage.answers import Claimed
from aq.storage.protocol import Storage
from aq.task import IDEMPOTENCY_KEY, Environment

T = TypeVar("T")


@frozen
class Answered(Generic[T]):
    """A request's answer; ``replayed`` says that an earlier request with its idempotency key got it."""

    value: T
    replayed: bool = False


class Claims:
    """What is promised is in the storage: the claim is written in one unit with what the request does."""

    def __init__(self, storage: Storage, clock: ServiceClock) -> None:
        self._storage = storage
        self._clock = clock

    def claiming(
        self, environment: Environment, key: str | None, what: str, *parts: object
    ) -> Claiming | None:
        """For a request of this kind and these validated parts. Raises ValidationError for a wrong key."""
        if key is None:
            return None
        try:
            IDEMPOTENCY_KEY.accept(key)
        except ValueError as error:
            raise ValidationError([FieldError("idempotency_key", str(error))]) from None
        return Claiming(environment, key, fingerprint(what, *parts), self._clock.now())

    async def once(
        self, claiming: Claiming | None, kind: Any, ask: Callable[[], Awaitable[T]]
    ) -> Answered[T]:
        """What ``ask`` gives; or what it gave to the first request with this key, of type ``kind``.

        Raises ConflictError when the first one asked for something else.
        """
        if claiming is None:
            return Answered(await ask())
        claimed = await self._claimed(claiming)
        if claimed is None:
            try:
                return Answered(await ask())
            except (ConflictError, NotFoundError):  # for a twin, perhaps: then its answer is there to be read
                claimed = await self._claimed(claiming)
                if claimed is None:
                    raise
        return Answered(claiming.replay(claimed, kind), replayed=True)

    async def _claimed(self, claiming: Claiming) -> Claimed | None:
        return await self._storage.claim(claiming.environment, claiming.name, self._clock.now())
