"""Clients of the HTTP API: `Client` and `AsyncClient`; what they answer and raise (docs/clients.md).

clients.py    `Client`, `AsyncClient`; tasks.py queues.py schedules.py keys.py  their resources
both.py       how a method that is written once is seen by both
core.py       a call and its retries, as steps that somebody else does (no I/O)
drivers.py    who does them: by blocking, or on Trio and asyncio
call.py       one request, and what its reply means
events.py     what happens, as it happens: sse.py takes the stream apart, channels.py reads it
webhooks.py   the receiver's side: `verify_webhook`
fields.py results.py errors.py   what may be given, is answered, can go wrong
"""

from __future__ import annotations

from aq.client.clients import AsyncClient, Client
from aq.client.errors import (
    APIError,
    AuthenticationError,
    BadRequest,
    Conflict,
    ConnectionFailed,
    NotEnded,
    NotFound,
    PermissionDenied,
    RateLimited,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
    ValidationFailed,
    WrongField,
)
from aq.client.events import Event
from aq.client.webhooks import Webhook, sign_webhook, verify_webhook

__all__ = [
    "APIError",
    "AsyncClient",
    "AuthenticationError",
    "BadRequest",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Event",
    "NotEnded",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "TimedOut",
    "Unavailable",
    "UnexpectedAnswer",
    "ValidationFailed",
    "Webhook",
    "WrongField",
    "sign_webhook",
    "verify_webhook",
]
