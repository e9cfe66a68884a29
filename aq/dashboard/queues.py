"""The queues: all of them, one, and what can be done to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen
from quart import Blueprint, Response, g, request

from aq.api import views
from aq.api.auth import environment, grant, require_queue
from aq.api.queues import known_queue
from aq.dashboard import policy as policies
from aq.dashboard.live import Queues
from aq.dashboard.shell import done, page, repeats
from aq.engine import Engine
from aq.errors import ValidationError
from aq.policy import Backoff, QueuePolicy

MOST_SHOWN: Final = 200
"""In the table at once; a name finds the others."""
_ONE: Final = "/queues/<name>"


@frozen
class QueuePages:
    """``/queues``."""

    engine: Engine
    queues: Queues

    def mount(self, blueprint: Blueprint) -> None:
        for rule, endpoint, handler in (
            ("/queues", "queues", self.list),
            ("/new-queue", "new_queue", self.new),
            ("/retry-calendar", "retry_calendar", self.calendar),
            (_ONE, "queue", self.one),
            (f"{_ONE}/policy", "policy", self.policy),
            (f"{_ONE}/purge", "ask_to_purge", self.ask_to_purge),
            (f"{_ONE}/delete", "ask_to_delete_queue", self.ask_to_delete),
        ):
            blueprint.add_url_rule(rule, endpoint, handler, methods=["GET"])
        for rule, endpoint, handler in (
            ("/new-queue", "create_queue", self.create),
            (f"{_ONE}/policy", "change_policy", self.change),
            (f"{_ONE}/pause", "pause_queue", self.pause),
            (f"{_ONE}/resume", "resume_queue", self.resume),
            (f"{_ONE}/purge", "purge_queue", self.purge),
            (f"{_ONE}/delete", "delete_queue", self.delete),
        ):
            blueprint.add_url_rule(rule, endpoint, handler, methods=["POST"])

    # -- looking --------------------------------------------------------------------------------------------
    async def list(self) -> Response:
        """The latest first, paused ones last; those whose name contains ``name``."""
        part = request.args.get("name", "").strip()
        seen = await self.queues.now(grant())
        found = [views.queue(view) for view in seen if part in view.queue.key.name]
        found.sort(key=lambda queue: (queue["paused"], -queue["lateness"], queue["name"]))
        return page(
            "queues.html",
            queues=found[:MOST_SHOWN],
            sparks=self._sparks(found[:MOST_SHOWN]),
            number=len(found),
            of=len(seen),
            part=part,
            host=request.host_url.rstrip("/"),
        )

    async def one(self, name: str) -> Response:
        queue = await self.engine.queues.get(known_queue(name), environment=environment())
        document = views.queue(await self.engine.queues.view(queue))
        return page("queue.html", queue=document, calendar=policies.calendar(queue.policy), window=900)

    def _sparks(self, queues: Sequence[Mapping[str, Any]]) -> Mapping[str, Sequence[int]]:
        return {queue["name"]: self.queues.spark(environment(), queue["name"]) for queue in queues}

    # -- its policy -----------------------------------------------------------------------------------------
    async def policy(self, name: str) -> Response:
        queue = await self.engine.queues.get(known_queue(name), environment=environment())
        return _form(queue.policy, name=name)

    async def change(self, name: str) -> Response:
        """What is typed takes the place of what was; wrong inputs come back with the API's words."""
        known, form = known_queue(name), await request.form
        try:
            await self.engine.queues.update(known, environment=environment(), **policies.typed(form))
        except ValidationError as error:
            queue = await self.engine.queues.get(known, environment=environment())
            return _form(queue.policy, name=name, form=form, error=error)
        return done(f"/queues/{name}", "Changed. It holds for the tasks that wait already.")

    async def new(self) -> Response:
        return _form(QueuePolicy())

    async def create(self) -> Response:
        """Before its first task, which would make it with the defaults."""
        form = await request.form
        name = form.get("name", "").strip()
        try:
            fields = policies.typed(form)
            require_queue(name)
            await self.engine.queues.create(name, environment=environment(), **fields)
        except ValidationError as error:
            return _form(QueuePolicy(), form=form, error=error)
        return done(f"/queues/{name}", f"{name} is there.")

    async def calendar(self) -> Response:
        """The retries that the inputs ask for, as a piece of the form."""
        return page("calendar.html", calendar=policies.possible_calendar(request.args))

    # -- what is done to it ---------------------------------------------------------------------------------
    async def pause(self, name: str) -> Response:
        await self.engine.queues.pause(known_queue(name), environment=environment())
        return done(f"/queues/{name}", f"{name} is paused: running attempts finish, nothing more starts.")

    async def resume(self, name: str) -> Response:
        await self.engine.queues.resume(known_queue(name), environment=environment())
        return done(f"/queues/{name}", f"{name} goes on.")

    async def ask_to_purge(self, name: str) -> Response:
        return await self._asked(name, "queue_purge.html")

    async def purge(self, name: str) -> Response:
        """Only with the count that the question named, typed by hand."""
        counted = (await request.form).get("counted", "")
        if not await repeats(counted):
            return await self._asked(name, "queue_purge.html", "That is not the number.")
        gone = await self.engine.queues.purge(known_queue(name), environment=environment())
        tasks = "1 task is" if gone == 1 else f"{gone:,} tasks are"
        return done(f"/queues/{name}", f"{tasks} gone from {name}, and will not be delivered.")

    async def ask_to_delete(self, name: str) -> Response:
        return await self._asked(name, "queue_delete.html")

    async def delete(self, name: str) -> Response:
        """Only with its name, typed by hand."""
        if not await repeats(name):
            return await self._asked(name, "queue_delete.html", "That is not its name.")
        await self.engine.queues.delete(known_queue(name), environment=environment())
        return done("/queues", f"{name} is gone.")

    async def _asked(self, name: str, template: str, wrong: str | None = None) -> Response:
        """The question, with what would be lost as it stands now."""
        known = known_queue(name)
        pending = await self.engine.queues.purge(known, environment=environment(), dry_run=True)
        counts = (await self.engine.queues.get(known, environment=environment())).counts
        status = 200 if wrong is None else 422
        return page(template, status=status, name=name, pending=pending, counts=counts, at=g.now, wrong=wrong)


def _form(
    policy: QueuePolicy,
    *,
    name: str | None = None,
    form: Mapping[str, str] | None = None,
    error: ValidationError | None = None,
) -> Response:
    """The form with what the policy says, or what was typed and what is wrong with it."""
    return page(
        "policy.html",
        status=200 if error is None else 422,
        name=name,
        values={**policies.shown(policy), **(form or {})},
        secrets=len(policy.signing_secrets or ()),
        calendar=policies.calendar(policy) if form is None else policies.possible_calendar(form),
        errors={} if error is None else policies.errors_of(error),
        backoffs=list(Backoff),
    )
