"""The document, put together from the routes of the app."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from quart_trio import QuartTrio
from werkzeug.routing import Rule as Route

from aq.api.auth import OPEN_ENDPOINTS, scope_of
from aq.api.openapi import refusals, words
from aq.api.openapi.accepted import accepted
from aq.api.openapi.answered import answered
from aq.api.openapi.examples import EXAMPLES, STREAM
from aq.api.openapi.operation import JSON, Answer, Header, Operation, Tag, operation_of
from aq.api.openapi.shapes import Schema, ref
from aq.api.openapi.webhooks import webhooks
from aq.apikey import Scope
from aq.ids import ALPHABET, LENGTH
from aq.rules import QUEUE_NAME, whole
from aq.task import IDEMPOTENCY_KEY
from aq.version import __version__

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""What is described; HEAD is there wherever GET is."""
_SCHEMES: Final = ("bearer", "apiKey")
_TAGS: Final[Mapping[Tag, str]] = {
    Tag.TASKS: "Work that is handed in, kept, and delivered to a webhook.",
    Tag.QUEUES: "How tasks are retried, timed out and run side by side. A queue is made by its first task.",
    Tag.SCHEDULES: "Tasks that are made again and again.",
    Tag.KEYS: "Who may ask for what. These operations need the scope `admin`.",
    Tag.EVENTS: "What happens, as it happens, and how much of it lately.",
    Tag.SERVICE: "For supervisors, load balancers and readers.",
}
_ABOUT: Final = """\
JSON in, JSON out, UTF-8. Names ending in `_at` are instants (RFC 3339, in UTC), in `_ms` milliseconds; other
times are in seconds. Unknown fields and parameters are refused, and every wrong one is named.

**Keys.** Every operation under `/v1` needs one: `Authorization: Bearer aq_live_…` or `X-API-Key: aq_live_…`.
Reading needs the scope `read`, changing `write`, API keys `admin`. Keys that begin with `aq_test_` are for
the sandbox: a world of its own, in which nothing is delivered.

**Errors** are `application/problem+json` (RFC 9457). Beside what each operation names: `405` for a method
that an address does not know, `408` for a request that takes over 30 s to arrive, `431` for headers over
16 KiB.

**Promises.** A `201` comes when the task is on disk. Delivery is at least once; a task that was deleted is
never delivered.
"""
_REQUEST_HEADERS: Final[Mapping[Header, tuple[str, Schema]]] = {
    Header.IDEMPOTENCY_KEY: (words.NEW_TASK["idempotency_key"], IDEMPOTENCY_KEY.schema()),
    Header.TRACEPARENT: ("Passed on to the webhook (W3C Trace Context); one that is malformed is not", {}),
    Header.TRACESTATE: ("Passed on with the `traceparent`, up to 512 characters of it", {}),
    Header.LAST_EVENT_ID: ("The stream goes on behind this event", {}),
}
_PATH: Final[Mapping[str, Schema]] = {
    "name": QUEUE_NAME.schema(),
    **{
        name: {"type": "string", "pattern": whole(f"{prefix}_[{ALPHABET}]{{{LENGTH}}}")}
        for name, prefix in (("task_id", "task"), ("schedule_id", "sch"), ("key_id", "key"))
    },
}


def document(app: QuartTrio) -> dict[str, Any]:
    """The OpenAPI document of an app: of every route whose handler is an `operation`."""
    paths: dict[str, dict[str, Any]] = {}
    for route, method, operation in operations(app):
        paths.setdefault(template(route), {})[method.lower()] = _operation(route, method, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AsyncQueue",
            "version": __version__,
            "summary": "An HTTP task queue: POST a task, get a webhook.",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "./", "description": "Where this document comes from"}],
        "security": [{scheme: []} for scheme in _SCHEMES],
        "tags": [{"name": tag.value, "description": about} for tag, about in _TAGS.items()],
        "paths": paths,
        "webhooks": webhooks(),
        "components": {
            "schemas": {**accepted(), **answered()},
            "responses": refusals.responses(),
            "headers": refusals.headers(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "`aq_live_…` or `aq_test_…`"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def operations(app: QuartTrio) -> Iterable[tuple[Route, str, Operation]]:
    """Every route that is described, with each of its methods."""
    for route in app.url_map.iter_rules():
        operation = operation_of(app.view_functions[route.endpoint])
        if operation is not None:
            for method in METHODS:
                if method in (route.methods or ()):
                    yield route, method, operation


def template(route: Route) -> str:
    """A route's path as OpenAPI writes it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.rule)


# -- one operation ------------------------------------------------------------------------------------------
def _operation(route: Route, method: str, it: Operation) -> dict[str, Any]:
    scope = None if route.endpoint in OPEN_ENDPOINTS else scope_of(route.rule, method)
    needs = "" if scope is None else f"\n\nNeeds a key with the scope `{scope}`."
    found: dict[str, Any] = {
        "operationId": route.endpoint,
        "tags": [it.tag.value],
        "summary": it.summary,
        "description": (it.description + needs).strip(),
        "security": [] if scope is None else [{scheme: [scope.value]} for scheme in _SCHEMES],
        "parameters": _parameters(route, it),
        "responses": _responses(route, method, it, scope),
    }
    if it.body is not None:
        found["requestBody"] = {
            "required": it.body_required,
            "content": {JSON: {"schema": ref(it.body), "example": EXAMPLES[it.body]}},
        }
    return found


def _parameters(route: Route, it: Operation) -> list[dict[str, Any]]:
    places = (
        *(
            ("path", name, words.PATH[name], _PATH.get(name, {}))
            for name in re.findall(r"<(?:\w+:)?(\w+)>", route.rule)
        ),
        *(("query", name, words.QUERY[name], rule.schema()) for name, rule in it.query.items()),
        *(("header", str(name), *_REQUEST_HEADERS[name]) for name in it.headers),
    )
    return [
        {
            "name": name,
            "in": place,
            "required": place == "path",
            "description": description,
            "schema": {"type": "string", **schema},
        }
        for place, name, description, schema in places
    ]


def _responses(route: Route, method: str, it: Operation, scope: Scope | None) -> dict[str, Any]:
    limited = () if scope is None else refusals.LIMITED
    answers = {str(answer.status): _answer(answer, limited) for answer in it.answers}
    problems = {str(status): refusals.refusal(status) for status in _problems(route, method, it, scope)}
    return dict(sorted((problems | answers).items()))


def _problems(route: Route, method: str, it: Operation, scope: Scope | None) -> set[int]:
    """The statuses that any operation of this kind may have, and its own."""
    found = {422, *it.problems}
    if scope is not None:
        found |= {401, 403, 429, 503}
    if method in ("POST", "PATCH", "DELETE"):
        found |= {400, 413, 415}
    if route.arguments:
        found.add(404)
    return found


def _answer(answer: Answer, limited: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": answer.description,
        "headers": refusals.header_refs(*answer.headers, *limited),
    }
    if answer.document is not None:
        example = {"example": EXAMPLES[answer.document]} if answer.document in EXAMPLES else {}
        found["content"] = {answer.media or JSON: {"schema": ref(answer.document), **example}}
    elif answer.media is not None:
        example = {"example": STREAM} if answer.media == "text/event-stream" else {}
        found["content"] = {answer.media: {"schema": {"type": "string"}, **example}}
    return found
