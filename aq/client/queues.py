"""The queues of a service, as its clients see them."""

from __future__ import annotations

from typing import Unpack

import msgspec

from aq.client.both import D, Resource, method
from aq.client.call import new_key
from aq.client.core import Flow
from aq.client.fields import FailedFilter, PolicyFields, encode
from aq.client.results import Queue


class _Queues(msgspec.Struct):
    queues: tuple[Queue, ...]


class _Count(msgspec.Struct):
    count: int


class Queues(Resource[D]):
    """``client.queues``."""

    @method
    def create(
        self, name: str, *, idempotency_key: str | None = None, **policy: Unpack[PolicyFields]
    ) -> Flow[Queue]:
        """Make a queue before its first task does, which would give it the defaults. Raises Conflict."""
        key = idempotency_key or new_key()
        return self._post(Queue, "queues", body=encode({"name": name, **policy}), key=key)

    @method
    def get(self, name: str) -> Flow[Queue]:
        """Its policy, how many tasks it holds, and its pace."""
        return self._get(Queue, "queues", name)

    @method
    def list(self) -> Flow[tuple[Queue, ...]]:
        """All that the key may see, by name."""
        return (yield from self._get(_Queues, "queues")).queues

    @method
    def update(self, name: str, **policy: Unpack[PolicyFields]) -> Flow[Queue]:
        """Change what is named of its policy; that holds at once, for waiting tasks too."""
        return self._patch(Queue, "queues", name, body=encode(policy))

    @method
    def delete(self, name: str) -> Flow[None]:
        """Delete a queue and its finished tasks. Raises Conflict while it holds pending or active ones."""
        return self._delete("queues", name, gone_is_done=True)

    @method
    def pause(self, name: str) -> Flow[Queue]:
        """Start nothing more, also after a restart; running attempts finish."""
        return self._post(Queue, "queues", name, "pause")

    @method
    def resume(self, name: str) -> Flow[Queue]:
        """The end of a pause, or of a quarantine."""
        return self._post(Queue, "queues", name, "resume")

    @method
    def purge(self, name: str, *, dry_run: bool = False) -> Flow[int]:
        """Delete every pending task; when this returns none of them will be delivered. Returns how many.

        ``dry_run`` only counts. It is not sent again when it may have been done: the count of a second one
        would not tell of the first.
        """
        body = encode({"dry_run": True}) if dry_run else None
        return (yield from self._post(_Count, "queues", name, "purge", body=body, repeatable=dry_run)).count

    @method
    def retry(
        self,
        name: str,
        *,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **which: Unpack[FailedFilter],
    ) -> Flow[int]:
        """Try the failed tasks again, all or those that a filter names. Returns how many; see ``dry_run``."""
        body = encode({**which, "dry_run": True} if dry_run else which)
        key = None if dry_run else idempotency_key or new_key()
        return (yield from self._post(_Count, "queues", name, "retry", body=body, key=key)).count
