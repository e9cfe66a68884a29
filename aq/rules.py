"""Rules a field's value must keep, and the two ways in: a constructor call and decoded JSON. Pure.

A field declares its rule in its type, ``priority: Annotated[int, Integer(1, 10)]``. `enforce` checks an
object built in Python, `structure` builds one from JSON through cattrs. Both name every wrong field at once,
and neither coerces: the text ``"5"``, the number ``5.0`` and ``true`` are not the integer 5. `object_schema`
tells the same rules as JSON Schema, as far as JSON Schema can say them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, Protocol, TypeVar, get_type_hints, runtime_checkable

import attrs
import cattrs
from attrs import field, frozen
from cattrs.errors import AttributeValidationNote, ClassValidationError, ForbiddenExtraKeysError

from aq.errors import FieldError, ValidationError, within

T = TypeVar("T")


@runtime_checkable
class Rule(Protocol):
    """One field's rule."""

    def accept(self, value: object) -> Any:
        """The value, typed; raises ValueError with what it must be, worded to follow the field's name.

        Of an object ValidationError names the fields that are wrong.
        """

    def schema(self) -> dict[str, Any]:
        """The rule as JSON Schema (2020-12): whatever is accepted as JSON is valid by it."""


@frozen
class Integer:
    """A whole number between two bounds, both included."""

    least: int
    most: int

    def accept(self, value: object) -> int:
        if type(value) is not int or not self.least <= value <= self.most:
            raise ValueError(f"must be an integer from {self.least:,} to {self.most:,}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@frozen
class Number:
    """A finite number between two bounds, both included. 1.0 becomes 1: one value, however it is told."""

    least: float
    most: float

    def accept(self, value: object) -> float:
        if type(value) not in (int, float) or not self.least <= value <= self.most:  # type: ignore[operator]
            raise ValueError(f"must be a number from {self.least:,} to {self.most:,}")
        number: float = value  # type: ignore[assignment]
        return int(number) if number == int(number) else number

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.least, "maximum": self.most}


@frozen
class Flag:
    """true or false."""

    def accept(self, value: object) -> bool:
        if type(value) is not bool:
            raise ValueError("must be true or false")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@frozen
class Text:
    """A text that matches a pattern as a whole; ``meaning`` says in words what is allowed."""

    pattern: str
    meaning: str
    _compiled: re.Pattern[str] = field(init=False, repr=False, eq=False)

    @_compiled.default
    def _compile_once(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def accept(self, value: object) -> str:
        if not isinstance(value, str) or not self._compiled.fullmatch(value):
            raise ValueError(f"must be {self.meaning}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": whole(self.pattern), "description": self.meaning}


@frozen
class OneOf:
    """One of the words of an enumeration."""

    words: type[StrEnum]

    def accept(self, value: object) -> StrEnum:
        if not isinstance(value, str) or value not in set(self.words):
            raise ValueError(f"must be one of {', '.join(self.words)}")
        return self.words(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": [str(word) for word in self.words]}


@frozen
class Items:
    """A list of so many values, none twice; becomes a tuple."""

    rule: Rule
    least: int
    most: int

    def accept(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not self.least <= len(value) <= self.most:
            raise ValueError(f"must be a list of {self.least:,} to {self.most:,}")
        try:
            return tuple(dict.fromkeys(self.rule.accept(item) for item in value))
        except ValueError as error:
            raise ValueError(f"has an item that {error}") from None

    def schema(self) -> dict[str, Any]:
        return {
            "type": "array",
            "items": self.rule.schema(),
            "minItems": self.least,
            "maxItems": self.most,
        }


@frozen
class Moment:
    """An instant: RFC 3339 text with its offset, or an aware datetime; becomes a datetime."""

    def accept(self, value: object) -> datetime:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value
        if not isinstance(value, str) or not _RFC3339.fullmatch(value):
            raise ValueError("must be an RFC 3339 instant such as 2026-01-31T09:30:00Z")
        try:
            moment = datetime.fromisoformat(value.upper())
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError("must be an RFC 3339 instant such as 2026-01-31T09:30:00Z") from None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


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

    def schema(self) -> dict[str, Any]:
        return nullable(self.rule.schema())


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
PLAIN = r"[^\x00-\x1f\x7f\ud800-\udfff]"
"""One character of a plain text: no controls, nothing that UTF-8 cannot hold."""
UNKNOWN: Final = "is not known here"
REQUIRED: Final = "is required"
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


def object_schema(cls: type[attrs.AttrsInstance]) -> dict[str, Any]:
    """What `structure` takes for an attrs class, field by field. What fields say together is not in it."""
    properties, required = {}, []
    fields = attrs.fields_dict(cls)
    for name, rule in rules_of(cls).items():
        properties[name] = rule.schema()
        default = fields[name].default
        if default is attrs.NOTHING:
            required.append(name)
        else:
            properties[name]["default"] = _plain(default, properties[name])
    shape: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**shape, "required": required} if required else shape


def nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What the schema allows, or null."""
    if not isinstance(schema.get("type"), str):
        return {"anyOf": [schema, {"type": "null"}]}
    words = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **words}


def whole(pattern: str) -> str:
    """A pattern for JSON Schema, which searches: it matches the text as a whole.

    Halves of surrogate pairs need no word there: no JSON text can hold one.
    """
    text = f"(?:{pattern})" if "|" in pattern else pattern
    return f"^{text}$".replace(r"\ud800-\udfff", "")


def _plain(default: Any, schema: Mapping[str, Any]) -> Any:
    """A field's default as it stands in JSON."""
    if isinstance(default, bytes):
        return json.loads(default)
    if isinstance(default, tuple):
        return dict(default) if schema["type"] == "object" else [_plain(item, {}) for item in default]
    return str(default) if isinstance(default, str) else default


def given(value: Any) -> Any:
    """An attrs converter for a field that takes more than it holds: what its rule makes of it comes later."""
    return value


@cache
def _checks(cls: type[attrs.AttrsInstance]) -> Sequence[tuple[str, Rule, object]]:
    """(name, rule, default) of each field with a rule; a default that its rule would change is none."""
    rules = rules_of(cls)
    defaults = {field.name: field.default for field in attrs.fields(cls) if field.name in rules}
    return [
        (name, rule, defaults[name] if _stands(defaults[name], rule) else attrs.NOTHING)
        for name, rule in rules.items()
    ]


def _stands(default: object, rule: Rule) -> bool:
    try:
        return rule.accept(default) is default
    except ValueError:
        return False


def enforce(instance: attrs.AttrsInstance) -> None:
    """For ``__attrs_post_init__``: each field becomes what its rule makes of it.

    Raises ValidationError naming every field that breaks its rule.
    """
    wrong: list[FieldError] = []
    for name, rule, default in _checks(type(instance)):
        value = getattr(instance, name)
        if value is default:  # it was checked once
            continue
        try:
            accepted = rule.accept(value)
            if accepted is not value:
                object.__setattr__(instance, name, accepted)
        except (ValueError, ValidationError) as error:
            wrong += within(name, error)
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
        return [FieldError(name, UNKNOWN) for name in sorted(error.extra_fields)]
    notes: list[object] = getattr(error, "__notes__", [])
    name = next((note.name for note in notes if isinstance(note, AttributeValidationNote)), "")
    if isinstance(error, ValidationError) and not name:  # of several fields together, by the class itself
        return list(error.errors)
    return [FieldError(name, REQUIRED)] if isinstance(error, KeyError) else within(name, error)


def _has_rule(hint: Any) -> bool:
    return any(isinstance(item, Rule) for item in getattr(hint, "__metadata__", ()))


def _accept_hook(hint: Any) -> Any:
    rule = next(item for item in hint.__metadata__ if isinstance(item, Rule))
    return lambda value, _: rule.accept(value)


_converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
_converter.register_structure_hook_factory(_has_rule, _accept_hook)
