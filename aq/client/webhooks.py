"""For those who receive webhooks: is it ours, and what does it say?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from aq.client.results import Result, Task
from aq.delivery.diagnosis import why_not
from aq.delivery.signing import TOLERANCE, Secret, SignatureError, Wrong, parse_secrets, sign, verify
from aq.instants import from_seconds


class Headers(Protocol):
    """As every framework has them: names in any case, with their values."""

    def items(self) -> Iterable[tuple[str, str]]: ...


class Webhook(Result, frozen=True, kw_only=True):
    """A delivery whose signature holds.

    ``id`` is the same for each attempt: what has been done under it need not be done again. A task that is
    delivered by GET has no body, and so neither ``queue`` nor ``attempt``. A callback has an ``event``,
    ``task.completed`` or ``task.failed``, and the ``task`` as it ended.
    """

    _hidden = frozenset({"payload_json"})

    id: str
    task_id: str
    sent_at: datetime
    queue: str | None = None
    attempt: int | None = None
    payload_json: msgspec.Raw = msgspec.field(name="payload", default=msgspec.Raw(b"{}"))
    event: str | None = None
    task: Task | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """As the task was given it; of a callback that of its task."""
        payload: dict[str, Any] | None = json.loads(bytes(self.payload_json))
        return payload or {}


class _Body(msgspec.Struct):
    task_id: str | None = None
    queue: str | None = None
    attempt: int | None = None
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    event: str | None = None
    task: Task | None = None


def verify_webhook(
    headers: Headers,
    body: bytes | str,
    secret: str | Sequence[str],
    tolerance: int = TOLERANCE,
    *,
    now: float | None = None,
) -> Webhook:
    """What a request says, once it is certain that the service sent it, at most ``tolerance`` seconds ago.

    ``body`` is the raw body as it was received, before any parsing; ``secret`` is ``whsec_…``, or several of
    them while secrets rotate. ``now`` is the time, in Unix seconds, where that is not the machine's. Raises
    SignatureError, which says why, and has a ``reason`` for programs: ``unsigned``, ``malformed``, ``clock``
    or ``mismatch``; ValueError for what is no secret.
    """
    found = {name.lower(): value for name, value in headers.items()}
    raw = body.encode() if isinstance(body, str) else body
    at = from_seconds(time.time() if now is None else now)
    secrets = _secrets(secret)
    try:
        verify(found, raw, secrets, at, tolerance)
    except SignatureError as error:
        why = why_not(found, raw, secrets, at, tolerance) or str(error)
        raise SignatureError(why, error.reason) from None
    return _read(found, raw)


def sign_webhook(
    body: bytes | str,
    secret: str | Sequence[str],
    *,
    webhook_id: str = "task_1",
    now: float | None = None,
) -> dict[str, str]:
    """The headers with which the service would send that body: for the tests of a receiver."""
    raw = body.encode() if isinstance(body, str) else body
    return dict(sign(_secrets(secret), webhook_id, int(time.time() if now is None else now), raw))


def _secrets(given: str | Sequence[str]) -> tuple[Secret, ...]:
    return parse_secrets(given if isinstance(given, str) else ",".join(given))


def _read(headers: dict[str, str], raw: bytes) -> Webhook:
    try:
        body = msgspec.json.decode(raw, type=_Body) if raw else _Body()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SignatureError(
            f"it is signed, but its body is none of ours: {error}", Wrong.MALFORMED
        ) from None
    # The plain scheme does not cover webhook-id: what it says is believed of the other scheme only.
    named = headers.get("webhook-id") if "webhook-signature" in headers else None
    task_id = body.task_id if body.task is None else body.task.id
    webhook_id = named or body.task_id
    if webhook_id is None:
        raise SignatureError(
            "it does not say which task it is of: without webhook-signature its webhook-id is not signed",
            Wrong.MALFORMED,
        )
    return Webhook(
        id=webhook_id,
        task_id=task_id or webhook_id,
        sent_at=_sent_at(headers),
        queue=body.queue if body.task is None else body.task.queue,
        attempt=body.attempt,
        payload_json=body.payload if body.task is None else body.task.payload_json,
        event=body.event,
        task=body.task,
    )


def _sent_at(headers: dict[str, str]) -> datetime:
    """When it was signed; both schemes were held to the clock."""
    if "webhook-signature" in headers:
        seconds = headers["webhook-timestamp"]
    else:
        parts = (part.partition("=") for part in headers["x-asyncqueue-signature"].split(","))
        seconds = next(value for name, _, value in parts if name == "t")
    return datetime.fromtimestamp(int(seconds), UTC)
