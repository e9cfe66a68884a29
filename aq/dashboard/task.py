"""One task: how it stands and how it came there, what was sent and answered, and what can be done with it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import asdict, frozen
from quart import Blueprint, Response, g, request

from aq.api import views
from aq.api.auth import check_queue, environment, grant, may_see
from aq.dashboard.again import FIELDS, anew, filled_in
from aq.dashboard.curl import to_api, to_receiver
from aq.dashboard.path import WORDS, Kind, path_of
from aq.dashboard.sentences import sentence
from aq.dashboard.shell import done, page
from aq.documents import attempt_document
from aq.engine import Engine, TaskView
from aq.errors import NotFoundError, UnavailableError, ValidationError
from aq.explanation import Explanation
from aq.task import Attempt, Status

_ONE: Final = "/tasks/<task_id>"
_STEPS: Final = {
    "dns": "look-up",
    "connect": "connect",
    "tls": "TLS",
    "ttfb": "wait for the answer",
    "read": "read it",
}


@frozen
class TaskPage:
    """``/tasks/{id}``."""

    engine: Engine

    def mount(self, blueprint: Blueprint) -> None:
        blueprint.add_url_rule(_ONE, "task", self.one, methods=["GET"])
        blueprint.add_url_rule(f"{_ONE}/retry", "retry_task", self.retry, methods=["POST"])
        blueprint.add_url_rule(f"{_ONE}/again", "ask_to_send_again", self.ask_to_send, methods=["GET"])
        blueprint.add_url_rule(f"{_ONE}/again", "send_task_again", self.again, methods=["POST"])
        blueprint.add_url_rule(f"{_ONE}/delete", "ask_to_delete_task", self.ask_to_delete, methods=["GET"])
        blueprint.add_url_rule(f"{_ONE}/delete", "delete_task", self.delete, methods=["POST"])

    async def one(self, task_id: str) -> Response:
        view = await self._visible(task_id)
        explanation = await self._explained(view)
        told = None if explanation is None else views.explained(explanation)
        return page(
            "task.html",
            task=views.whole_task(view),
            own_max_retries=view.task.max_retries,
            begun=view.task.attempt,
            destination=view.task.destination,
            sentence=sentence(view, explanation),
            path=(path := path_of(view, g.now)),
            kinds=[kind for kind in Kind if any(piece.kind is kind for piece in path)],
            words=WORDS,
            steps=_STEPS,
            attempts=_attempts(view.attempts),
            explanation=told,
            payload=view.payload.decode(),
            to_receiver=to_receiver(view),
            to_api=to_api(view, request.host_url.rstrip("/")),
            not_failed=None if view.task.status is Status.FAILED else "only a failed task can be retried",
            not_pending=None if view.task.status is Status.PENDING else "only a pending task can be deleted",
        )

    async def retry(self, task_id: str) -> Response:
        await self.engine.retry(task_id, environment=environment(), sees=may_see)
        return done(f"/tasks/{task_id}", "It is due again, with all of its retries.")

    async def ask_to_send(self, task_id: str) -> Response:
        view = await self._visible(task_id)
        return _form(view, filled_in(view), secrets.token_hex(8))

    async def again(self, task_id: str) -> Response:
        """A new task with the same fields but for what was written anew; a form sent twice makes one."""
        view, form = await self._visible(task_id), (await request.form).to_dict()
        once = form.get("once", "")
        try:
            new = anew(view, form, f"again-{once}" if once else None)
            check_queue(grant(), new.queue)
            task = await self.engine.submit(new, environment=environment())
        except ValidationError as error:
            return _form(view, {**filled_in(view), **form}, once, error)
        return done(f"/tasks/{task.id}", f"This is the new task, made from {task_id}.")

    async def ask_to_delete(self, task_id: str) -> Response:
        view = await self._visible(task_id)
        return page("task_delete.html", task=views.whole_task(view))

    async def delete(self, task_id: str) -> Response:
        await self._visible(task_id)
        await self.engine.delete(task_id, environment=environment())
        return done("/tasks", f"{task_id} is deleted: it will never be delivered.")

    async def _visible(self, task_id: str) -> TaskView:
        view = await self.engine.get(task_id, environment=environment())
        if not may_see(view.task.queue.name):
            raise NotFoundError(f"there is no task {task_id}")
        return view

    async def _explained(self, view: TaskView) -> Explanation | None:
        """What a task that has not ended waits for; None where that cannot be told for now."""
        if view.task.status.final:
            return None
        try:
            return await self.engine.explain(view.task.id, environment=environment())
        except (NotFoundError, UnavailableError):
            return None


def _form(
    view: TaskView, values: Mapping[str, str], once: str, error: ValidationError | None = None
) -> Response:
    """What would be sent, or was typed and what is wrong with it."""
    return page(
        "task_again.html",
        status=200 if error is None else 422,
        task=views.whole_task(view),
        values={name: values[name] for name in FIELDS},
        errors={} if error is None else {it.field: it.message for it in error.errors},
        once=once,
    )


def _attempts(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """Their documents, the latest first, each with its time as parts of a bar that is 100 for the longest."""
    longest = max((_total(attempt) for attempt in attempts), default=0)
    return [
        {**attempt_document(attempt), "parts": list(_parts(attempt, longest))}
        for attempt in reversed(attempts)
    ]


def _parts(attempt: Attempt, longest: int) -> Iterator[dict[str, Any]]:
    """``{name, ms, x, width}`` of each step that took its time; what is left is the reading of the answer."""
    if attempt.timing is None:
        return
    steps = {name: ms for name, ms in asdict(attempt.timing).items() if name in _STEPS and ms}
    if (rest := _total(attempt) - sum(steps.values())) > 0:
        steps["read"] = rest
    x = 0.0
    for name, ms in steps.items():
        width = 100 * ms / longest
        yield {"name": name, "ms": ms, "x": round(x, 2), "width": round(width, 2)}
        x += width


def _total(attempt: Attempt) -> int:
    """Milliseconds; its steps are rounded each for itself, and may be more together."""
    timing = attempt.timing
    if timing is None:
        return 0
    steps = (timing.dns, timing.connect, timing.tls, timing.ttfb)
    return max(timing.total or 0, sum(ms or 0 for ms in steps))
