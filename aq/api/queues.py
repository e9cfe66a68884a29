"""The routes of queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from attrs import frozen
from quart import Response, request
from quart_trio import QuartTrio

from aq.api import views
from aq.api.auth import environment, grant, may_see, require_queue
from aq.api.body import read_object, read_optional_object
from aq.api.openapi.operation import NO_CONTENT, Header, Tag, created, ok, operation, replayed
from aq.api.query import checked, expect_nothing, no_parameters
from aq.api.requests import idempotency_key
from aq.engine import Engine
from aq.errors import NotFoundError
from aq.policy import QueuePolicy
from aq.queues import Retry
from aq.rules import QUEUE_NAME, Flag, Rule, rules_of, structure
from aq.task import Queue

POLICY: Final[Mapping[str, Rule]] = rules_of(QueuePolicy)
NEW: Final[Mapping[str, Rule]] = {"name": QUEUE_NAME, **POLICY}
PURGE: Final[Mapping[str, Rule]] = {"dry_run": Flag()}


@frozen
class QueueRoutes:
    """``/v1/queues``."""

    engine: Engine

    def mount(self, app: QuartTrio) -> None:
        one = "/v1/queues/<name>"
        app.add_url_rule("/v1/queues", "create_queue", self.create, methods=["POST"])
        app.add_url_rule("/v1/queues", "list_queues", self.list, methods=["GET"])
        app.add_url_rule(one, "get_queue", self.get, methods=["GET"])
        app.add_url_rule(one, "update_queue", self.update, methods=["PATCH"])
        app.add_url_rule(one, "delete_queue", self.delete, methods=["DELETE"])
        app.add_url_rule(one + "/pause", "pause_queue", self.pause, methods=["POST"])
        app.add_url_rule(one + "/resume", "resume_queue", self.resume, methods=["POST"])
        app.add_url_rule(one + "/purge", "purge_queue", self.purge, methods=["POST"])
        app.add_url_rule(one + "/retry", "retry_queue", self.retry, methods=["POST"])

    @operation(
        Tag.QUEUES,
        "Create a queue",
        created("Queue", "It is there."),
        replayed("Queue"),
        body="NewQueue",
        headers=(Header.IDEMPOTENCY_KEY,),
        problems=(409,),
    )
    async def create(self) -> Response:
        """Before its first task, which would make it with the defaults."""
        no_parameters()
        fields = checked((await read_object()).values, NEW, required=("name",))
        name = fields.pop("name")
        require_queue(name)
        done = await self.engine.queues.make(
            name, environment=environment(), idempotency_key=idempotency_key(request.headers), **fields
        )
        location = f"/v1/queues/{quote(name)}"
        return views.answer(views.new_queue(done.value), 201, location=location, replayed=done.replayed)

    @operation(Tag.QUEUES, "List queues", ok("Queues", "All that the key may see."))
    async def list(self) -> Response:
        """By name."""
        no_parameters()
        found = self.engine.queues.views(environment=environment(), names=grant().queues)
        return views.answer({"queues": [views.queue(view) async for view in found]})

    @operation(Tag.QUEUES, "Read a queue", ok("Queue", "The queue."))
    async def get(self, name: str) -> Response:
        """Its policy, how many tasks it holds, and its pace."""
        no_parameters()
        return await self._shown(await self.engine.queues.get(known_queue(name), environment=environment()))

    @operation(
        Tag.QUEUES, "Change a queue's policy", ok("Queue", "The queue as it is now."), body="QueueChange"
    )
    async def update(self, name: str) -> Response:
        """What is left out stays as it is. A change holds for the tasks that wait already."""
        no_parameters()
        known = known_queue(name)
        changes = checked((await read_object()).values, POLICY)
        return await self._shown(await self.engine.queues.update(known, environment=environment(), **changes))

    @operation(Tag.QUEUES, "Delete a queue", NO_CONTENT, problems=(409,))
    async def delete(self, name: str) -> Response:
        """Its finished tasks go with it. Not while it holds pending or active ones."""
        await expect_nothing()
        await self.engine.queues.delete(known_queue(name), environment=environment())
        return views.nothing()

    @operation(Tag.QUEUES, "Pause a queue", ok("Queue", "The queue as it is now."))
    async def pause(self, name: str) -> Response:
        """Nothing more is started, also after a restart; running attempts finish."""
        await expect_nothing()
        return await self._shown(await self.engine.queues.pause(known_queue(name), environment=environment()))

    @operation(Tag.QUEUES, "Resume a queue", ok("Queue", "The queue as it is now."))
    async def resume(self, name: str) -> Response:
        """The end of a pause."""
        await expect_nothing()
        return await self._shown(
            await self.engine.queues.resume(known_queue(name), environment=environment())
        )

    @operation(
        Tag.QUEUES,
        "Purge a queue",
        ok("Count", "How many were deleted, or would be."),
        body="Purge",
        body_required=False,
    )
    async def purge(self, name: str) -> Response:
        """Every pending task is deleted: when this is answered, none of them will be delivered."""
        no_parameters()
        asked = checked(await read_optional_object(), PURGE)
        count = await self.engine.queues.purge(known_queue(name), environment=environment(), **asked)
        return views.answer({"count": count})

    @operation(
        Tag.QUEUES,
        "Retry a queue's failed tasks",
        ok("Count", "How many wait again, or would.", headers=("Idempotent-Replay",)),
        headers=(Header.IDEMPOTENCY_KEY,),
        body="RetryFailed",
        body_required=False,
        problems=(409,),
    )
    async def retry(self, name: str) -> Response:
        """All that failed until now, or those that the body names, in small steps from now on."""
        no_parameters()
        which = structure(await read_optional_object(), Retry)
        done = await self.engine.queues.retry(
            known_queue(name),
            which,
            environment=environment(),
            idempotency_key=idempotency_key(request.headers),
        )
        return views.answer({"count": done.value}, replayed=done.replayed)

    async def _shown(self, queue: Queue) -> Response:
        return views.answer(views.queue(await self.engine.queues.view(queue)))


def known_queue(name: str) -> str:
    """A name that a queue can have, of a queue that the key may see. Raises NotFoundError."""
    try:
        QUEUE_NAME.accept(name)
    except ValueError:
        raise NotFoundError("there is no queue of that name") from None
    if not may_see(name):
        raise NotFoundError(f"there is no queue {name}")
    return name
