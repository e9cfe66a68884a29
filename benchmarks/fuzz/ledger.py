"""What the server has told in its answers, and whether its store agrees in the end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from aq.storage import open_storage
from aq.storage.answers import TaskFilter
from aq.storage.protocol import Storage
from aq.task import Environment, Task
from benchmarks.fuzz.exchange import Answer

_PAGE: Final = 1_000


@define
class Ledger:
    """``told`` has the queue of each task that was acknowledged; ``kept`` is the queue that loses none."""

    kept: str
    told: dict[str, str] = field(factory=dict)
    statuses: Counter[int] = field(factory=Counter)
    deletions: int = 0

    def note(self, answer: Answer) -> str | None:
        """Take an answer into the books; what is wrong with it, if anything is."""
        self.statuses[answer.status] += 1
        self.deletions += answer.status == 204
        if answer.status == 201 or "idempotent-replay" in answer.headers:
            self.told |= {task["id"]: task["queue"] for task in _tasks(answer.json)}
        return _wrong(answer)

    async def compare(self, url: str) -> list[str]:
        """What a store has that nobody was told of, or lacks, or counts wrongly. Nobody else has it open."""
        async with open_storage(url) as storage:
            stored = await _stored(storage)
            problems = [f"the audit says: {line}" for line in await storage.audit()]
        secret = [
            task.id for task in stored.values() if task.id not in self.told and task.options.slot is None
        ]
        gone = [told for told, queue in self.told.items() if queue == self.kept and told not in stored]
        if secret:
            problems.append(f"{len(secret)} tasks are stored that nobody was told of, such as {secret[0]}")
        if len(gone) > self.deletions:
            problems.append(f"{len(gone)} acknowledged tasks are gone, after {self.deletions} deletions")
        return problems


def log_problems(log: Path) -> list[str]:
    """What a server's log has that it should not have."""
    return [f"the log says: {line}" for line in log.read_text().splitlines() if _alarming(line)][:10]


def _alarming(line: str) -> bool:
    return "Traceback" in line or " ERROR " in line or "CRITICAL" in line


def _tasks(document: Any) -> list[dict[str, Any]]:
    """The tasks of an answer to what creates some."""
    items = document.get("tasks", [document]) if isinstance(document, dict) else []
    return [item for item in items if str(item.get("id", "")).startswith("task_")]


def _wrong(answer: Answer) -> str | None:
    if answer.status >= 500 and not (answer.status == 503 and "retry-after" in answer.headers):
        return f"it is answered {answer.status}"
    if "x-request-id" not in answer.headers:
        return "the answer has no X-Request-Id"
    kind = answer.headers.get("content-type")
    is_page = answer.headers.get("content-security-policy") and kind == "text/html; charset=utf-8"
    if answer.status >= 400 and kind != "application/problem+json" and not is_page:
        return f"the {answer.status} is no problem document"
    if answer.status == 422 and answer.body and not is_page and not answer.json["errors"]:
        return "the 422 names no field"
    return None


async def _stored(storage: Storage) -> dict[str, Task]:
    found: dict[str, Task] = {}
    which, before = TaskFilter(Environment.LIVE), None
    while True:
        page = await storage.list_tasks(which, limit=_PAGE, before=before)
        found |= {task.id: task for task in page.tasks}
        before = page.more
        if before is None:
            return found
