"""When a schedule fires, in words. Pure.

Only what is said surely is said in words; of a cron expression that is anything else the fields are named.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from aq.dashboard.words import span

_DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    *("", "January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_SHORT_DAYS: Final = {day[:3].upper(): str(number) for number, day in enumerate(_DAYS[:7])}
_SHORT_MONTHS: Final = {month[:3].upper(): str(number) for number, month in enumerate(_MONTHS) if month}
_ORDINALS: Final = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
_NUMBERS: Final = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_MOST_TIMES: Final = 4
_UNITS: Final = {1: "second", 60: "minute", 3_600: "hour", 86_400: "day"}


def every_in_words(seconds: int) -> str:
    """``every 5 min``, ``every hour``."""
    return f"every {_UNITS.get(seconds, span(seconds))}"


def cron_in_words(cron: str) -> str:
    """``every day at 08:30``, ``every 5 minutes``, ``at 09:00 from Monday to Friday``."""
    minute, hour, day, month, weekday = cron.upper().split()
    time = _time(minute, hour)
    dates = _dates(day, _named(month, _SHORT_MONTHS), _named(weekday, _SHORT_DAYS))
    if time is None or dates is None:
        return f"minute {minute}, hour {hour}, day {day}, month {month}, weekday {weekday}"
    if dates:
        return f"{time} {dates}"
    return f"every day {time}" if time.startswith("at ") else time


def local(at: str, timezone: str) -> str:
    """``Wed 25 Nov 09:00 CET``: an RFC 3339 instant as the clocks of a zone show it."""
    there = datetime.fromisoformat(at).astimezone(ZoneInfo(timezone))
    return f"{there:%a %d %b %Y %H:%M}{f':{there:%S}' if there.second else ''} {there:%Z}"


def _named(field: str, numbers: dict[str, str]) -> str:
    for name, number in numbers.items():
        field = field.replace(name, number)
    return field


def _time(minute: str, hour: str) -> str | None:
    """``at 08:30``, ``every 5 minutes``, ``at minute 15 of every hour``; None for what has no short words."""
    minutes, hours = _listed(minute), _listed(hour)
    if minutes and hours and len(minutes) * len(hours) <= _MOST_TIMES:
        return "at " + _and([f"{h:02}:{m:02}" for h in hours for m in minutes])
    step, hour_step = _step(minute), _step(hour)
    within = _within(hour)
    if step is not None and within is not None:
        return _every(step, "minute") + within
    if minutes and hour_step is not None:
        past = "" if minutes == [0] else f" at {_minutes(minutes)}"
        return _every(hour_step, "hour") + past
    if minutes and within is not None:
        return f"every hour at {_minutes(minutes)}{within}"
    return None


def _dates(day: str, month: str, weekday: str) -> str | None:
    """``on Monday``, ``on the 1st of January``; empty for every day."""
    if day != "*" and weekday != "*":
        return None  # either of the two counts, or both, by rules that no short words tell
    words = []
    if weekday != "*":
        days = _spans(weekday, list(_DAYS))
        words.append(None if days is None else f"{_from(weekday)} {days}")
    if day != "*":
        days = "the last day" if day == "L" else _spans(day, [_ordinal(number) for number in range(32)])
        of = "" if month != "*" else " of every month"
        words.append(None if days is None else f"on {days if day == 'L' else f'the {days}'}{of}")
    if month != "*":
        months = _spans(month, list(_MONTHS))
        words.append(None if months is None else f"{'of' if day != '*' else _from(month, 'in')} {months}")
    told = [word for word in words if word is not None]
    return " ".join(told) if len(told) == len(words) else None


def _listed(field: str) -> list[int] | None:
    """The numbers of a field that names them, in order."""
    if not _NUMBERS.fullmatch(field):
        return None
    found: set[int] = set()
    for part in field.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)


def _step(field: str) -> int | None:
    """Of ``*`` and ``*/5``: 1 and 5."""
    match = re.fullmatch(r"\*(?:/(\d+))?", field)
    return None if match is None else int(match[1] or 1)


def _within(hour: str) -> str | None:
    """``, 09:00 to 17:59``; nothing for every hour."""
    if hour == "*":
        return ""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", hour)
    return None if match is None else f", {int(match[1]):02}:00 to {int(match[2] or match[1]):02}:59"


def _spans(field: str, names: list[str]) -> str | None:
    """``Monday to Friday and Sunday``."""
    if not _NUMBERS.fullmatch(field):
        return None
    parts = []
    for part in field.split(","):
        first, _, last = part.partition("-")
        parts.append(names[int(first)] if not last else f"{names[int(first)]} to {names[int(last)]}")
    return _and(parts)


def _from(field: str, else_: str = "on") -> str:
    """``from`` before a single span."""
    return "from" if re.fullmatch(r"\d+-\d+", field) else else_


def _ordinal(number: int) -> str:
    return f"{number}{_ORDINALS.get(number, 'th')}"


def _every(number: int, unit: str) -> str:
    return f"every {unit}" if number == 1 else f"every {number} {unit}s"


def _minutes(minutes: list[int]) -> str:
    return f"minute{'s' if len(minutes) > 1 else ''} {_and([str(minute) for minute in minutes])}"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
