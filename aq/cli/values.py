"""Values on the command line that Click does not know, and how they are shown."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:  # only newer versions of Click say of what
    _Type = click.ParamType

_UNITS: Final = {"ms": 0.001, "": 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


class Duration(_Type):
    """``90``, ``90s``, ``5m``, ``2h``, ``1d``: seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|min|[smhd]?)", value.strip())
        if match is None:
            self.fail(f"{value!r} is no duration: try 90, 90s, 5m, 2h or 1d", param, ctx)
        seconds = float(match[1]) * _UNITS[match[2]]
        return int(seconds) if seconds.is_integer() else seconds


class Moment(_Type):
    """An instant in RFC 3339; without an offset it is local time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            found = datetime.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is no time: try 2026-01-31T09:30:00Z", param, ctx)
        return found.astimezone() if found.tzinfo is None else found


class Rate(_Type):
    """``10`` or ``10,20``: starts per second, and how many may come at once."""

    name = "per_second[,burst]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        per_second, comma, burst = value.removesuffix("/s").partition(",")
        try:
            return {"per_second": float(per_second), **({"burst": int(burst)} if comma else {})}
        except ValueError:
            self.fail(f"{value!r} is no rate: try 10, or 10,20 for bursts of 20", param, ctx)


class Text(_Type):
    """A text as it stands, of a file (``@PATH``), or of stdin (``-``)."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            if value == "-":
                return sys.stdin.buffer.read()
            return Path(value[1:]).read_bytes() if value.startswith("@") else value.encode()
        except OSError as error:
            self.fail(f"{value[1:]}: {error.strerror}", param, ctx)


class JsonObject(Text):
    """The JSON text of an object, byte for byte."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = super().convert(value, param, ctx)
        try:
            if isinstance(json.loads(text), dict):
                return text
            self.fail("it must be a JSON object, such as '{\"n\": 1}'", param, ctx)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            self.fail(f"it is no JSON: {error}", param, ctx)


class Nothing:
    """What ``none`` becomes: JSON's null, and not an option that was left out."""


class OrNone(_Type):
    """``none``, or what another type takes."""

    def __init__(self, inner: _Type) -> None:
        self._inner = inner
        self.name = f"{inner.name}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return Nothing() if value == "none" else self._inner.convert(value, param, ctx)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Of the options of a command those that were given, by the names of the API."""
    found = {name: value for name, value in options.items() if value is not None and value != ()}
    return {name: None if isinstance(value, Nothing) else value for name, value in found.items()}


def local(moment: datetime | None) -> str:
    """The time of the clock on the wall."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def relative(moment: datetime | None, now: datetime | None = None) -> str:
    """``in 5 min`` or ``2 h ago``."""
    if moment is None:
        return ""
    seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return f"in {span(seconds)}" if seconds >= 0 else f"{span(-seconds)} ago"


def span(seconds: float) -> str:
    """In one unit, for a person."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
