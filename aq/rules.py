"""Rules a field's value must keep, and the two ways in: a constructor call and decoded JSON. Pure.

A field declares its rule in its type, ``priority: Annotated[int, Integer(1, 10)]``. `enforce` checks an
object built in Python, `structure` builds one from JSON through cattrs. Both name every wrong field at once,
and neither coerces: the text ``"5"``, the number ``5.0`` and ``true`` are not the integer 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Protocol, TypeVar, get_type_hints, runtime_checkable

import attrs
import cattrs
from attrs import frozen
from cattrs.errors import AttributeValidationNote, ClassValidationError, ForbiddenExtraKeysError

from aq.errors import FieldError, ValidationError

T = TypeVar("T")


@runtime_checkable
class Rule(Protocol):
    """One field's rule."""

    def accept(self, value: object) -> Any:
        """The value, typed; raises ValueError with what it must be, worded to follow the field's name."""


@frozen
class Integer:
    """A whole number between two bounds, both included."""

    least: int
    most: int

    def accept(self, value: object) -> int:
        if type(value) is not int or not self.least <= value <= self.most:
            raise ValueError(f"must be an integer from {self.least:,} to {self.most:,}")
        return value


@frozen
class Number:
    """A finite number between two bounds, both included."""

    least: float
    most: float

    def accept(self, value: object) -> float:
        if type(value) not in (int, float) or not self.least <= value <= self.most:  # type: ignore[operator]
            raise ValueError(f"must be a number from {self.least:,} to {self.most:,}")
        return value  # type: ignore[return-value]


@frozen
class Flag:
    """true or false."""

    def accept(self, value: object) -> bool:
        if type(value) is not bool:
            raise ValueError("must be true or false")
        return value


@frozen
class Text:
    """A text that matches a pattern as a whole; ``meaning`` says in words what is allowed."""

    pattern: str
    meaning: str

    def accept(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise ValueError(f"must be {self.meaning}")
        return value


@frozen
class OneOf:
    """One of the words of an enumeration."""

    words: type[StrEnum]

    def accept(self, value: object) -> StrEnum:
        if not isinstance(value, str) or value not in set(self.words):
            raise ValueError(f"must be one of {', '.join(self.words)}")
        return self.words(value)


@frozen
class Optional:
    """What another rule accepts, or null for "not set"."""

    rule: Rule

    def accept(self, value: object) -> Any:
        if value is None:
            return None
        try:
            return self.rule.accept(value)
        except ValueError as error:
            raise ValueError(f"{error}, or null") from None


QUEUE_NAME = Text(r"[A-Za-z0-9._-]{1,128}", "1 to 128 of the characters A-Z a-z 0-9 . _ -")


@cache
def rules_of(cls: type) -> Mapping[str, Rule]:
    """Field name → rule, for each field of an attrs class that declares one."""
    found = {}
    for name, hint in get_type_hints(cls, include_extras=True).items():
        for rule in getattr(hint, "__metadata__", ()):
            if isinstance(rule, Rule):
                found[name] = rule
    return found


def enforce(instance: attrs.AttrsInstance) -> None:
    """For ``__attrs_post_init__``: raises ValidationError naming every field that breaks its rule."""
    wrong = []
    for name, rule in rules_of(type(instance)).items():
        try:
            rule.accept(getattr(instance, name))
        except ValueError as error:
            wrong.append(FieldError(name, str(error)))
    if wrong:
        raise ValidationError(wrong)


def structure(data: Mapping[str, object], cls: type[T]) -> T:
    """An attrs object from decoded JSON. Raises ValidationError naming each wrong, missing, unknown field."""
    try:
        return _converter.structure(data, cls)
    except ClassValidationError as group:
        raise ValidationError([field for error in group.exceptions for field in _told(error)]) from None


def unstructure(instance: attrs.AttrsInstance) -> dict[str, Any]:
    """The inverse of `structure`: plain values for JSON."""
    plain: dict[str, Any] = _converter.unstructure(instance)
    return plain


def _told(error: Exception) -> list[FieldError]:
    if isinstance(error, ForbiddenExtraKeysError):
        return [FieldError(name, "is not a known field") for name in sorted(error.extra_fields)]
    name = next(note.name for note in error.__notes__ if isinstance(note, AttributeValidationNote))
    return [FieldError(name, "is required" if isinstance(error, KeyError) else str(error))]


def _has_rule(hint: Any) -> bool:
    return any(isinstance(item, Rule) for item in getattr(hint, "__metadata__", ()))


def _accept_hook(hint: Any) -> Any:
    rule = next(item for item in hint.__metadata__ if isinstance(item, Rule))
    return lambda value, _: rule.accept(value)


_converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
_converter.register_structure_hook_factory(_has_rule, _accept_hook)
