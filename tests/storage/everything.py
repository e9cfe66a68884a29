"""All that a storage or the model holds, as one value to compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aq.storage.protocol import Storage
from aq.task import Environment, Task

from .model import Model

NAMES = ("k", "ü")
"""Of the claims that `deeds` makes."""


async def everything_in(storage: Storage, seen: Iterable[Task]) -> dict[str, Any]:
    """``seen``: the tasks that may be there."""
    found = {task_id: await storage.task(task_id) for task_id in _ids(seen)}
    return {
        "tasks": {task_id: stored for task_id, stored in found.items() if stored is not None},
        "queues": list(await storage.queues()),
        "claims": {
            (environment, name): await storage.claim(environment, name, 0)
            for environment in Environment
            for name in NAMES
        },
        "keys": list(await storage.api_keys()),
        "schedules": list(await storage.schedules()),
        "settings": dict(await storage.settings()),
        "floor": await storage.floor(),
    }


def everything_of(model: Model, seen: Iterable[Task]) -> dict[str, Any]:
    return {
        "tasks": {task_id: model.task(task_id) for task_id in _ids(seen) if task_id in model.state.tasks},
        "queues": model.queues(),
        "claims": {
            (environment, name): model.claim(environment, name, 0)
            for environment in Environment
            for name in NAMES
        },
        "keys": model.api_keys(),
        "schedules": model.schedules(None),
        "settings": dict(model.settings()),
        "floor": model.floor(),
    }


def _ids(seen: Iterable[Task]) -> set[str]:
    return {task.id for task in seen}
