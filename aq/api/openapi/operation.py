"""What the documentation says of one operation, beside the handler that it describes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

from attrs import frozen

from aq.rules import Rule

JSON: Final = "application/json"
_ATTRIBUTE: Final = "operation"

F = TypeVar("F", bound=Callable[..., Any])


class Tag(StrEnum):
    """The chapters of the documentation, in their order."""

    TASKS = "Tasks"
    QUEUES = "Queues"
    SCHEDULES = "Schedules"
    KEYS = "API keys"
    EVENTS = "Events"
    SERVICE = "Service"


class Header(StrEnum):
    """A header that requests may carry."""

    IDEMPOTENCY_KEY = "Idempotency-Key"
    TRACEPARENT = "traceparent"
    TRACESTATE = "tracestate"
    LAST_EVENT_ID = "Last-Event-ID"


@frozen
class Answer:
    """One answer that is no problem. ``document`` names a schema; ``headers`` those beyond the usual ones."""

    status: int
    description: str
    document: str | None = None
    headers: tuple[str, ...] = ()
    media: str | None = JSON
    """None: there is no body."""


@frozen(kw_only=True)
class Operation:
    """The address, the method, the key that it needs and the usual problems are known from the route."""

    tag: Tag
    summary: str
    description: str
    answers: tuple[Answer, ...]
    query: Mapping[str, Rule]
    headers: tuple[Header, ...]
    body: str | None
    """The name of the schema of the request's body."""
    body_required: bool
    problems: tuple[int, ...]
    """Statuses beyond the usual ones."""


def operation(
    tag: Tag,
    summary: str,
    *answers: Answer,
    query: Mapping[str, Rule] | None = None,
    headers: tuple[Header, ...] = (),
    body: str | None = None,
    body_required: bool = True,
    problems: tuple[int, ...] = (),
) -> Callable[[F], F]:
    """Describe a handler; its docstring is the description. The handler stays as it is."""

    def attach(handler: F) -> F:
        handler.__dict__[_ATTRIBUTE] = Operation(
            tag=tag,
            summary=summary,
            description=inspect.cleandoc(handler.__doc__ or "").replace("``", "`"),
            answers=answers,
            query=query or {},
            headers=headers,
            body=body,
            body_required=body_required,
            problems=problems,
        )
        return handler

    return attach


def operation_of(view: Callable[..., Any]) -> Operation | None:
    """What is said of a route's handler; None for one that is not part of the documentation."""
    found: Operation | None = getattr(view, _ATTRIBUTE, None)
    return found


def ok(document: str, description: str = "Done.", *, headers: tuple[str, ...] = ()) -> Answer:
    """200 with a document."""
    return Answer(200, description, document, headers)


def created(document: str, description: str, *, located: bool = True) -> Answer:
    """201, with the address of what was made."""
    return Answer(201, description, document, ("Location",) if located else ())


def replayed(document: str, *, located: bool = True) -> Answer:
    """200 for a request whose idempotency key came before."""
    headers = ("Idempotent-Replay", "Location") if located else ("Idempotent-Replay",)
    return Answer(200, "The answer of the earlier request with this idempotency key.", document, headers)


NO_CONTENT: Final = Answer(204, "Done.", media=None)
