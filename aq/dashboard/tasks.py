"""Lists of tasks: filtered by an address that can be kept, in pages that do not move while they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from attrs import frozen
from quart import Blueprint, Response, redirect, request

from aq.api import views
from aq.api.auth import grant
from aq.api.query import checked
from aq.api.tasks import FILTERS, filter_of
from aq.dashboard.live import Queues
from aq.dashboard.search import as_text, read_search
from aq.dashboard.shell import page
from aq.engine import Engine
from aq.errors import FieldError, ValidationError
from aq.ids import just_above
from aq.outcome import ErrorType
from aq.storage.answers import MOST_LOOKED_AT, TaskFilter
from aq.task import Status, Task

PAGE: Final = 25
MOST_FRESH: Final = 99
"""Tasks that came since a page was opened and are counted; beyond, "99+"."""
_WITHOUT_ZONE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?")


@frozen
class Shown:
    """A page: its tasks, newest first, and the ids from which the pages beside it go on."""

    tasks: Sequence[Task]
    newer: str | None
    older: str | None
    total: int | None = None
    fresh: int = 0
    """How many have come since the first page was opened."""


@frozen
class TaskPages:
    """``/tasks``."""

    engine: Engine
    queues: Queues

    def mount(self, blueprint: Blueprint) -> None:
        blueprint.add_url_rule("/tasks", "tasks", self.list, methods=["GET"])

    async def list(self) -> Response:
        """The query is a search (``q``) that leads on, or filters as in the API and a place to begin."""
        if text := request.args.get("q", "").strip():
            return await self._found(text)
        given = {name: value for name, value in request.args.items() if value}
        filters = {name: _instant(name, given[name]) for name in FILTERS if name in given}
        try:
            which = filter_of(checked(filters, FILTERS))
        except ValidationError as error:
            return await self._page(Shown([], None, None), filters, given, wrong=error.errors)
        return await self._page(await self._shown(which, given), filters, given)

    async def _found(self, text: str) -> Response:
        search = read_search(text)
        if search.task_id is not None:
            return _to(f"/tasks/{search.task_id}")
        if search.wrong is None:
            return _to(f"/tasks?{urlencode(search.parameters)}")
        return await self._page(
            Shown([], None, None), {}, {}, wrong=[FieldError("q", search.wrong)], text=text
        )

    async def _shown(self, which: TaskFilter, given: Mapping[str, str]) -> Shown:
        """``before`` and ``after`` are ids to go on from; ``top`` is the first of a page that stays."""
        if "after" in given:
            up = await self.engine.find(which, limit=PAGE, after=given["after"])
            if len(up.tasks) == PAGE or up.more is not None:
                tasks = up.tasks[::-1]
                return Shown(tasks, up.more, tasks[-1].id if tasks else None, up.total)
            given = {}  # these are the newest: the first page has them, and is full
        top = given.get("top")
        before = given.get("before") if top is None else just_above(top)
        found = await self.engine.find(which, limit=PAGE, before=before)
        fresh = 0 if top is None else await self._fresh(which, top)
        newer = found.tasks[0].id if found.tasks and "before" in given else None
        return Shown(found.tasks, newer, found.more, found.total, fresh)

    async def _fresh(self, which: TaskFilter, top: str) -> int:
        return len((await self.engine.find(which, limit=MOST_FRESH + 1, after=top)).tasks)

    async def _page(
        self,
        shown: Shown,
        filters: Mapping[str, str],
        given: Mapping[str, str],
        wrong: Sequence[FieldError] = (),
        text: str | None = None,
    ) -> Response:
        queues = await self.queues.lately(grant())
        counted = [view.queue for view in queues if filters.get("queue") in (None, view.queue.key.name)]
        counts = {status: sum(getattr(queue.counts, status) for queue in counted) for status in Status}
        pinned = "before" in given or "after" in given
        first = shown.tasks[0].id if shown.tasks else None
        return page(
            "tasks.html",
            rows=[await self._row(task) for task in shown.tasks],
            shown=shown,
            filters=filters,
            search=as_text(filters) if text is None else text,
            wrong=wrong,
            counts=counts,
            queues=[view.queue.key.name for view in queues],
            statuses=list(Status),
            error_types=list(ErrorType),
            place={} if pinned or first is None else {"top": given.get("top", first)},
            pinned=pinned,
            looked_at=MOST_LOOKED_AT,
            host=request.host_url.rstrip("/"),
            address=_address,
        )

    async def _row(self, task: Task) -> Mapping[str, Any]:
        """The task's document with what the list shows beside it."""
        document = views.task(task, await self.engine.queues.policy(task.queue))
        split = urlsplit(task.webhook_url)
        return {**document, "host": split.netloc, "path": split.path, "attempts": task.attempt}


def _address(filters: Mapping[str, str], **other: str | None) -> str:
    """The list with these filters, some of them changed; None and the empty text leave one out."""
    query = {name: value for name, value in {**filters, **other}.items() if value}
    return f"/tasks?{urlencode(query)}" if query else "/tasks"


def _instant(name: str, value: str) -> str:
    """A browser's field for instants names no zone: UTC is meant, and the page says so."""
    if name.startswith("created_") and (match := _WITHOUT_ZONE.fullmatch(value)):
        return f"{value}{'' if match[1] else ':00'}Z"
    return value


def _to(path: str) -> Response:
    return redirect(path, 303)  # type: ignore[return-value]  # Quart's stub says Werkzeug's
