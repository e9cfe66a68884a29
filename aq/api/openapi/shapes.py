"""Few words for JSON Schemas, so that a document reads like the list of its members."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

from aq.rules import nullable

Schema: TypeAlias = dict[str, Any]


def text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def instant(description: str) -> Schema:
    """RFC 3339 in UTC."""
    return text(description, format="date-time")


def count(description: str, **more: Any) -> Schema:
    """A whole number from 0."""
    return {"type": "integer", "minimum": 0, "description": description, **more}


def number(description: str) -> Schema:
    """A number from 0."""
    return {"type": "number", "minimum": 0, "description": description}


def flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def word(description: str, words: type[StrEnum]) -> Schema:
    """One of the words of an enumeration."""
    return text(description, enum=[str(it) for it in words])


def items(of: Schema, description: str) -> Schema:
    """A list."""
    return {"type": "array", "items": of, "description": description}


def ref(name: str) -> Schema:
    """A schema among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Schema) -> Schema:
    """What the schema allows, or null."""
    described = {"description": schema["description"]} if "description" in schema else {}
    return {**nullable(schema), **described}


def document(description: str, /, **members: Schema) -> Schema:
    """An object of which every member is always there."""
    return {
        "type": "object",
        "description": description,
        "required": list(members),
        "properties": members,
    }


def described(schema: Schema, description: str, words: Mapping[str, str]) -> Schema:
    """An object with a word on each of its properties, before what its rule says of itself.

    Raises ValueError unless there is one for each, and none for anything else.
    """
    if words.keys() != schema["properties"].keys():
        raise ValueError(f"no word, or one too many: {words.keys() ^ schema['properties'].keys()}")
    properties = {
        name: {**rule, "description": _together(words[name], rule.get("description"))}
        for name, rule in schema["properties"].items()
    }
    return {**schema, "description": description, "properties": properties}


def _together(word: str, rule: str | None) -> str:
    return word if rule is None else f"{word}: {rule}"
