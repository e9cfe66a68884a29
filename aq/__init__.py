"""AsyncQueue: an HTTP task queue, and the engine inside it.

How a task flows through this package, top to bottom:

    api/        HTTP in: parse, authenticate, answer (server.py and cli/ start it)
    opening.py  open_engine(): what an engine is made of, and in which order it begins and ends
    engine.py   the front door, for the API and for embedders alike
    actors/     root → queue supervisor → agenda (who is next) → runner (one attempt); committer (writes)
    delivery/   HTTP out: sign, guard, connect, send, judge
    storage/    where tasks are kept: memory, SQLite, and the rules that any other must keep
    client/     the other side of that HTTP: `Client`, `AsyncClient`, `verify_webhook`
    task.py lifecycle.py policy.py outcome.py …   what a task is and how it moves; pure

Imports point down this list.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aq.version import __version__

if TYPE_CHECKING:
    from aq.client.clients import AsyncClient, Client
    from aq.client.webhooks import Webhook, verify_webhook
    from aq.delivery.protocol import Delivery, Runner, Transport
    from aq.delivery.signing import SignatureError
    from aq.engine import Engine, TaskView
    from aq.errors import AsyncQueueError
    from aq.opening import open_engine
    from aq.outcome import Outcome
    from aq.policy import QueuePolicy
    from aq.task import NewTask, Status, Task

__all__ = [
    "AsyncClient",
    "AsyncQueueError",
    "Client",
    "Delivery",
    "Engine",
    "NewTask",
    "Outcome",
    "QueuePolicy",
    "Runner",
    "SignatureError",
    "Status",
    "Task",
    "TaskView",
    "Transport",
    "Webhook",
    "__version__",
    "open_engine",
    "verify_webhook",
]

_HOMES = {
    "AsyncClient": "aq.client.clients",
    "AsyncQueueError": "aq.errors",
    "Client": "aq.client.clients",
    "Delivery": "aq.delivery.protocol",
    "Engine": "aq.engine",
    "NewTask": "aq.task",
    "Outcome": "aq.outcome",
    "QueuePolicy": "aq.policy",
    "Runner": "aq.delivery.protocol",
    "SignatureError": "aq.delivery.signing",
    "Status": "aq.task",
    "Task": "aq.task",
    "TaskView": "aq.engine",
    "Transport": "aq.delivery.protocol",
    "Webhook": "aq.client.webhooks",
    "open_engine": "aq.opening",
    "verify_webhook": "aq.client.webhooks",
}


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used, so that `aq --help` does not wait for the engine."""
    if name not in _HOMES:
        raise AttributeError(f"module 'aq' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
