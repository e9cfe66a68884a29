"""What failed, by kind, and the retry of one kind: counted first, so that who asks for it knows how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from attrs import frozen
from quart import Blueprint, Response, g, request

from aq.api.auth import environment, grant
from aq.api.queues import known_queue
from aq.dashboard.shell import done, page
from aq.engine import Engine
from aq.instants import to_rfc3339
from aq.queues import Retry
from aq.rules import structure
from aq.storage.answers import FailureGroup

MOST_GROUPS: Final = 50
"""Shown; there may be as many as failed tasks are looked at."""
_FILTERS: Final = ("tag", "error_type", "destination", "failed_before")


@frozen
class FailurePages:
    """``/failures``."""

    engine: Engine

    def mount(self, blueprint: Blueprint) -> None:
        blueprint.add_url_rule("/failures", "failures", self.list, methods=["GET"])
        blueprint.add_url_rule("/failures/retry", "ask_to_retry", self.ask, methods=["GET"])
        blueprint.add_url_rule("/failures/retry", "retry_failures", self.retry, methods=["POST"])

    async def list(self) -> Response:
        queues = grant().queues
        found = await self.engine.failures(
            environment=environment(), queues=None if queues is None else tuple(queues)
        )
        return page(
            "failures.html",
            groups=[_group(group) for group in found.groups[:MOST_GROUPS]],
            number=len(found.groups),
            looked_at=found.looked_at,
            total=found.total,
        )

    async def ask(self) -> Response:
        """How many there are now; what fails from now on is not covered by the answer to this."""
        name = known_queue(request.args.get("queue", ""))
        filters = _given(request.args)
        filters["failed_before"] = to_rfc3339(g.now)
        counted = await self.engine.queues.retry(
            name, structure({**filters, "dry_run": True}, Retry), environment=environment()
        )
        return page("failures_retry.html", queue=name, filters=filters, count=counted.value)

    async def retry(self) -> Response:
        form = await request.form
        name = known_queue(form.get("queue", ""))
        retried = await self.engine.queues.retry(
            name, structure(_given(form), Retry), environment=environment()
        )
        tasks = "1 task waits" if retried.value == 1 else f"{retried.value:,} tasks wait"
        return done("/failures", f"{tasks} in {name} again; they are due at once.")


def _group(group: FailureGroup) -> dict[str, Any]:
    """``which`` is the query that names the group, for the list of tasks and for the retry."""
    kind = {"queue": group.queue, "error_type": group.error_type or "", "destination": group.destination}
    return {
        **kind,
        "count": group.count,
        "first_at": to_rfc3339(group.first_at),
        "last_at": to_rfc3339(group.last_at),
        "samples": group.samples,
        "error": group.error,
        "which": urlencode({name: value for name, value in kind.items() if value}),
    }


def _given(values: Mapping[str, str]) -> dict[str, str]:
    return {name: values[name] for name in _FILTERS if values.get(name)}
