"""The reference is what the code says of itself."""

from __future__ import annotations

import re
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


PLACES = {
    "/v1/tasks": ["tasks.md"],
    "/v1/queues": ["queues.md"],
    "/v1/schedules": ["schedules.md", "tasks.md"],
    "/v1/apikeys": ["keys.md"],
    "/": ["events.md", "webhooks.md"],
}
"""Where the fields of a route are told, beside the page of what all routes share."""


def names(schema: Any, known: dict[str, Any]) -> set[str]:
    """Of every property, at any depth."""
    if isinstance(schema, list):
        return {name for each in schema for name in names(each, known)}
    if not isinstance(schema, dict):
        return set()
    if "$ref" in schema:
        *_, kind, name = schema["$ref"].split("/")
        return names(known[kind][name], known)
    found = {name for value in schema.values() for name in names(value, known)}
    return found | set(schema["properties"] if isinstance(schema.get("properties"), dict) else ())


def parameters(listed: list[dict[str, Any]], known: dict[str, Any]) -> set[str]:
    told = [known["parameters"][it["$ref"].split("/")[-1]] if "$ref" in it else it for it in listed]
    return {it["name"] for it in told if it["in"] in ("query", "header")}


async def test_everything_that_openapi_describes_is_in_its_page_of_the_api() -> None:
    async with open_api(dev=True) as api:
        described = document(api.app)
    known = described["components"]
    seen: set[str] = set()
    for path, operations in described["paths"].items():
        pages = next(pages for place, pages in PLACES.items() if path.startswith(place))
        text = "".join(
            (ROOT / "docs" / page).read_text() for page in ("api.md", *(f"api/{it}" for it in pages))
        )
        told = set(re.findall(r"[\w-]+", text))
        for operation in operations.values():
            described_here = names(operation, known) | parameters(operation.get("parameters", []), known)
            assert described_here - told - {"task_id"} == set(), path
            seen |= described_here
    assert len(seen) > 80
