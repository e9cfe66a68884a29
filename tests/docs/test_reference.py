"""The reference is what the code says of itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from aq.api.openapi.build import document
from aq.lifecycle import TRANSITIONS
from tests.api.api_world import open_api
from tests.docs.blocks import ROOT
from tools.reference import PARTS, written


@pytest.mark.parametrize("name", PARTS)
def test_the_generated_part_is_as_it_would_be_now(name: str) -> None:
    assert (ROOT / "docs/reference" / name).read_text() == written(name), "python -m tools.reference"


def test_the_drawing_shows_every_way_between_the_states_and_no_other() -> None:
    drawing = (ROOT / "docs/images/life-of-a-task.svg").read_text()
    drawn = re.findall(r'data-from="(\w*)" data-to="(\w*)">(\w+)<', drawing)
    table = [
        (str(before or ""), str(after or ""), str(event)) for (before, event), after in TRANSITIONS.items()
    ]
    assert sorted(drawn) == sorted(table)


def names(schema: Any) -> set[str]:
    """Of every property, at any depth."""
    if isinstance(schema, list):
        return {name for each in schema for name in names(each)}
    if not isinstance(schema, dict):
        return set()
    found = {name for key, value in schema.items() for name in names(value)}
    return found | set(schema["properties"] if isinstance(schema.get("properties"), dict) else ())


async def test_everything_that_openapi_describes_is_in_the_pages_of_the_api() -> None:
    async with open_api(dev=True) as api:
        described = document(api.app)
    pages = [ROOT / "docs/api.md", *sorted((ROOT / "docs/api").glob("*.md"))]
    told = set(re.findall(r"[\w-]+", "".join(map(Path.read_text, pages))))
    parameters = {
        parameter["name"]
        for path in described["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
        for parameter in operation.get("parameters", [])
        if parameter.get("in") in ("query", "header")
    }
    fields = names(described)
    assert len(fields) > 80
    assert len(parameters) > 10
    assert (fields | parameters) - told - {"task_id"} == set()
