"""What a page loads, from here and from nowhere else: kept by browsers for good, under its digest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from aq.api.files import File

_FOLDER: Final = Path(__file__).parent / "static"
NAMES: Final = (
    "aq.css",
    "aq.js",
    "favicon.svg",
    "htmx.min.js",
    "plots.js",
    "tasks.css",
    "uPlot.iife.min.js",
    "uPlot.min.css",
)


@cache
def assets() -> Mapping[str, File]:
    """By name."""
    return {name: File.read(_FOLDER / name) for name in NAMES}


def address(name: str) -> str:
    """Where a browser finds it; another content has another address."""
    return f"/assets/{assets()[name].digest}/{name}"
