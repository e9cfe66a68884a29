"""JSON values around a JSON Schema: good ones, and those that are just beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hypothesis import strategies as st

from aq.api.openapi.shapes import Schema
from aq.rules import whole
from aq.slots import FIVE_FIELDS
from aq.target import PATTERN

SCALARS: Final = st.none() | st.booleans() | st.integers(-3, 3) | st.just(1.5) | st.text(max_size=3)
ANYTHING: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
SAMPLES: Final[Mapping[str | None, list[str]]] = {
    "date-time": [
        "2026-01-31T09:30:00Z",
        "2026-01-31t09:30:00.123456789z",
        "2026-01-31T09:30:00+23:59",
        "2024-02-29T23:59:59.5-05:00",
    ],
    whole(PATTERN): ["http://h/", "HTTPS://a.b-c.example:8443/x?y=%20", "http://[::1]/", "http://h?q"],
    whole(FIVE_FIELDS): ["30 9 * * MON-FRI", "*/5 * * * *", "0 0 1 1 *", "* * 31 2 *"],
    None: ["UTC", "Europe/Berlin"],  # a text without more: a time zone
}
"""Texts that chance would hardly find, by format or pattern."""
BESIDE: Final = [
    "2026-02-29T00:00:00Z",
    "2026-01-31 09:30:00Z",
    "2026-01-31T09:30:00",
    "2026-01-31",
    "http://h/#f",
    "ftp://h/",
    "http://a@b/",
    "* * * *",
    "whsec_c2VjcmV0",
    "a b",
    "a\n",
    "",
]
HEADER_NAMES: Final = ["host", "X-A", "x-a", "a b", ""]


def near(schema: Schema, schemas: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    """Good, or with one thing that may be wrong."""
    schema = _resolved(schema, schemas)
    return st.one_of(good(schema, schemas), beside(schema, schemas))


def good(schema: Schema, schemas: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    """What its members say one by one; not what they say together."""
    schema = _resolved(schema, schemas)
    if "anyOf" in schema:
        return st.one_of(*(good(each, schemas) for each in schema["anyOf"]))
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of(*(_good(kind, schema, schemas) for kind in kinds))


def beside(schema: Schema, schemas: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    """Something is wrong with it, or may be."""
    if "minimum" in schema:
        least, most = schema["minimum"], schema["maximum"]
        bounds = [least, most, least - 1, most + 1, float(least), float(most), str(least)]
        return st.sampled_from(bounds) | ANYTHING
    if "properties" in schema:
        return _objects_beside(schema, schemas)
    if "items" in schema:
        inner = near(schema["items"], schemas)
        twice = good(schema["items"], schemas).map(lambda item: [item, item])
        return st.lists(inner, max_size=2) | twice | ANYTHING
    if "propertyNames" in schema:
        texts = good(schema["additionalProperties"], schemas)
        return st.dictionaries(st.sampled_from(HEADER_NAMES), texts | SCALARS, max_size=3) | ANYTHING
    if "pattern" in schema:
        texts = good(schema, schemas).filter(lambda it: isinstance(it, str))
        return st.sampled_from(BESIDE) | st.tuples(texts, st.text(max_size=1)).map("".join) | ANYTHING
    return st.sampled_from(BESIDE) | ANYTHING


def _good(kind: str, schema: Schema, schemas: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    if kind == "null":
        return st.none()
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    if kind == "number":
        return st.floats(schema["minimum"], schema["maximum"])
    if kind == "string":
        return _text(schema)
    if kind == "array":
        most = min(schema["maxItems"], schema["minItems"] + 2)
        return st.lists(good(schema["items"], schemas), min_size=schema["minItems"], max_size=most)
    return _object(schema, schemas)


def _text(schema: Schema) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from([word for word in schema["enum"] if word is not None])
    known = schema.get("format") or schema.get("pattern")
    if known in SAMPLES:
        return st.sampled_from(SAMPLES[known])
    return st.from_regex(schema["pattern"].removeprefix("^").removesuffix("$"), fullmatch=True)


def _object(schema: Schema, schemas: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    if "propertyNames" in schema:
        names, texts = _text(schema["propertyNames"]), _text(schema["additionalProperties"])
        return st.dictionaries(names, texts, max_size=3)
    if "properties" not in schema:
        return st.dictionaries(st.text(max_size=3), ANYTHING, max_size=3)
    properties = {name: good(each, schemas) for name, each in schema["properties"].items()}
    required = {name: properties.pop(name) for name in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=properties)


def _objects_beside(schema: Schema, schemas: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    whole = _object(schema, schemas)
    another = st.one_of(
        *(st.tuples(st.just(name), near(each, schemas)) for name, each in schema["properties"].items()),
        st.tuples(st.text(max_size=3), SCALARS),
    )
    changed = st.builds(lambda found, member: {**found, member[0]: member[1]}, whole, another)
    names = st.sampled_from(list(schema["properties"]))
    without = st.builds(lambda found, gone: {k: v for k, v in found.items() if k != gone}, whole, names)
    return changed | changed | without


def _resolved(schema: Schema, schemas: Mapping[str, Schema]) -> Schema:
    schema = schema["allOf"][0] if "allOf" in schema else schema
    return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
