"""What the service sends: the deliveries of tasks, and the callbacks that tell of their ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aq.api.openapi.examples import EXAMPLES
from aq.api.openapi.operation import JSON, Tag
from aq.api.openapi.shapes import ref
from aq.lifecycle import MAX_RETRY_AFTER

_SIGNED: Final = (
    "Signed by [Standard Webhooks](https://www.standardwebhooks.com), so any of its libraries verifies it, "
    "and by `X-AsyncQueue-Signature`. Delivery is at least once: what comes twice has the same `webhook-id`."
)
_HEADERS: Final[Mapping[str, str]] = {
    "webhook-id": "The id of the task, or of the callback: the same for each attempt",
    "webhook-timestamp": "Unix seconds",
    "webhook-signature": "`v1,` and HMAC-SHA256 in base64 over `<id>.<timestamp>.<body>`; one for each "
    "secret, spaces between",
    "X-AsyncQueue-Signature": "`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 over `<t>.<body>`; a `v1` for "
    "each secret",
    "User-Agent": "`AsyncQueue/` and its version",
    "traceparent": "As the request that made the task had it; of the attempt where the service traces itself",
    "tracestate": "What came with it",
}
_NOT_ALWAYS: Final = ("traceparent", "tracestate")
_RESPONSES: Final[Mapping[str, Any]] = {
    "2XX": {"description": "It is done."},
    "410": {"description": "There will never be anything to do: no more attempts."},
    "429": {"description": f"Later: `Retry-After` is heeded, up to {MAX_RETRY_AFTER:,} s; so with 503."},
    "default": {"description": "Not done: tried again as the queue says. Redirects are not followed."},
}


def webhooks() -> dict[str, Any]:
    """The ``webhooks`` of the document."""
    return {
        "delivery": {
            "post": _sent(
                "deliver",
                "A task is due",
                "Sent to the `webhook_url` by the `method` (a GET has no body), with the task's `headers`. ",
                "Delivery",
            )
        },
        "callback": {
            "post": _sent(
                "call_back",
                "A task has ended",
                "Sent to the `callback_url` of a task that has completed or failed. ",
                "CallbackDelivery",
            )
        },
    }


def _sent(operation_id: str, summary: str, description: str, document: str) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "tags": [Tag.TASKS.value],
        "summary": summary,
        "description": description + _SIGNED,
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": name not in _NOT_ALWAYS,
                "description": description,
                "schema": {"type": "string"},
            }
            for name, description in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref(document), "example": EXAMPLES[document]}},
        },
        "responses": dict(_RESPONSES),
    }
