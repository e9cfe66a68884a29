"""Cursors: where a list goes on, as an opaque text that holds for the same filters only."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

from attrs import frozen

from aq.errors import FieldError, ValidationError
from aq.rules import Integer
from aq.storage.answers import TaskFilter

_MARK = 8


@frozen
class Offset(Integer):
    """How many to pass over: a number that stays small, for each one passed over costs."""

    def accept(self, value: object) -> int:
        try:
            return Integer.accept(self, value)
        except ValueError as error:
            raise ValueError(f"{error}; page on from there with cursor, a page's next_cursor") from None


def cursor_after(task_id: str | None, which: TaskFilter) -> str | None:
    """The cursor behind a task, None at the end of a list."""
    if task_id is None:
        return None
    return urlsafe_b64encode(_mark(which) + task_id.encode()).decode().rstrip("=")


def read_cursor(cursor: str, which: TaskFilter) -> str:
    """The id to go on from. Raises ValidationError for a text that is no cursor of these filters."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        if raw[:_MARK] == _mark(which):
            return raw[_MARK:].decode("ascii")
    except ValueError:
        pass  # told below
    wrong = "must be the next_cursor of a page with the same filters"
    raise ValidationError([FieldError("cursor", wrong)])


def _mark(which: TaskFilter) -> bytes:
    return hashlib.sha256(repr(which).encode()).digest()[:_MARK]
