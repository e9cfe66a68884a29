"""The schedules of a service, as its clients see them."""

from __future__ import annotations

from typing import Unpack

import msgspec

from aq.client.both import D, Resource, method
from aq.client.call import new_key
from aq.client.core import Flow
from aq.client.fields import ScheduleFields, encode
from aq.client.results import Schedule, Task


class _Schedules(msgspec.Struct):
    schedules: tuple[Schedule, ...]


class Schedules(Resource[D]):
    """``client.schedules``."""

    @method
    def create(
        self, *, idempotency_key: str | None = None, **schedule: Unpack[ScheduleFields]
    ) -> Flow[Schedule]:
        """Make a task at each time of ``cron`` in ``timezone``, or each ``every`` seconds, from now on."""
        return self._post(Schedule, "schedules", body=encode(schedule), key=idempotency_key or new_key())

    @method
    def get(self, id: str) -> Flow[Schedule]:  # noqa: A002 - as the API has it
        """A schedule, with the next times to come."""
        return self._get(Schedule, "schedules", id)

    @method
    def list(self) -> Flow[tuple[Schedule, ...]]:
        """All that the key may see, in the order of creation, without the payloads of their tasks."""
        return (yield from self._get(_Schedules, "schedules")).schedules

    @method
    def update(self, id: str, **schedule: Unpack[ScheduleFields]) -> Flow[Schedule]:  # noqa: A002
        """Change what is named; ``cron`` takes the place of ``every`` and the other way round."""
        return self._patch(Schedule, "schedules", id, body=encode(schedule))

    @method
    def delete(self, id: str) -> Flow[None]:  # noqa: A002
        """It makes no more tasks; those it made stay."""
        return self._delete("schedules", id, gone_is_done=True)

    @method
    def pause(self, id: str) -> Flow[Schedule]:  # noqa: A002
        """Let its times pass without a task."""
        return self._post(Schedule, "schedules", id, "pause")

    @method
    def resume(self, id: str) -> Flow[Schedule]:  # noqa: A002
        """The end of a pause; what passed meanwhile is not made up for."""
        return self._post(Schedule, "schedules", id, "resume")

    @method
    def run(self, id: str, *, idempotency_key: str | None = None) -> Flow[Task]:  # noqa: A002
        """Make its task now, beside its times, also while it is paused."""
        return self._post(Task, "schedules", id, "run", key=idempotency_key or new_key())
