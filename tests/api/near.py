"""JSON values around a JSON Schema: valid ones, and those just beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from aq.api.openapi.shapes import Schema

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.just(1.5) | st.text(max_size=3)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
INSTANTS = st.sampled_from(
    [
        "2026-01-31T09:30:00Z",
        "2026-01-31t09:30:00.123456789z",
        "2026-01-31T09:30:00+23:59",
        "2024-02-29T23:59:59.5-05:00",
        "2026-02-29T00:00:00Z",
        "2026-01-31 09:30:00Z",
        "2026-01-31T09:30:00",
        "2026-01-31T09:30Z",
        "2026-01-31",
    ]
)


def near(schema: Schema, schemas: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    """Mostly valid; in one of several something is wrong."""
    if "$ref" in schema:
        return near(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "allOf" in schema:
        return near(schema["allOf"][0], schemas) | ANYTHING
    if "anyOf" in schema:
        return st.one_of(*(near(each, schemas) for each in schema["anyOf"]))
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    good = st.one_of(*(_of_kind(kind, schema, schemas) for kind in kinds))
    return st.one_of(good, good, good, good, good, ANYTHING)


def _of_kind(kind: str, schema: Schema, schemas: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    if kind == "null":
        return st.none()
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        return st.one_of(_bounds(schema), st.integers(schema["minimum"], schema["maximum"]))
    if kind == "number":
        return st.one_of(_bounds(schema), st.floats(schema["minimum"], schema["maximum"]))
    if kind == "string":
        return _text(schema)
    if kind == "array":
        most = min(schema["maxItems"], 3)
        items = st.lists(near(schema["items"], schemas), min_size=min(schema["minItems"], most), max_size=most)
        return items | st.lists(near(schema["items"], schemas), max_size=2)
    return _object(schema, schemas)


def _bounds(schema: Schema) -> st.SearchStrategy[Any]:
    least, most = schema["minimum"], schema["maximum"]
    return st.sampled_from([least, most, least - 1, most + 1, float(least), float(most)])


def _text(schema: Schema) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from([word for word in schema["enum"] if word is not None])
    if schema.get("format") == "date-time":
        return INSTANTS
    if "pattern" not in schema:
        return st.text(max_size=5)
    good = st.from_regex(schema["pattern"].removeprefix("^").removesuffix("$"), fullmatch=True)
    return st.one_of(good, good, good, st.tuples(good, st.text(max_size=1)).map("".join))


def _object(schema: Schema, schemas: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    properties = {name: near(each, schemas) for name, each in schema.get("properties", {}).items()}
    required = {name: properties.pop(name) for name in schema.get("required", ())}
    known = st.fixed_dictionaries(required, optional=properties)
    names = _text({**schema.get("propertyNames", {})}) | st.sampled_from(["host", "X-A", "x-a", "a b"])
    if "propertyNames" in schema:
        return st.dictionaries(names, _text(schema["additionalProperties"]), max_size=3)
    if not properties and not required:
        return st.dictionaries(st.text(max_size=3), ANYTHING, max_size=3)
    more = st.dictionaries(st.text(max_size=3), SCALARS, min_size=1, max_size=1)
    fewer = known.map(lambda found: dict(list(found.items())[1:]))
    return st.one_of(known, known, known, known, fewer, st.builds(lambda a, b: {**a, **b}, known, more))
