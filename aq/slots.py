"""The instants of a rhythm: of a cron expression in a time zone, or of a fixed span. Pure.

cronsim reads the five fields and walks the calendar, on plain local times. Which instants a local time stands
for is settled here, by the rules of Debian's cron:

- A job at fixed times (neither minute nor hour begins with ``*``) runs once at each: in the hour that is
  repeated in its first pass, and where the local time is skipped, at the end of the gap.
- Any other job runs whenever the local clock shows a time that matches: in both passes of a repeated hour,
  and not at all within a gap.

Not cronsim's own walk over zoned times: where the clock moves by half an hour (Australia/Lord_Howe) it misses
times, and begun in a repeated hour it gives an instant before its beginning.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from aq.instants import SECOND, Instant, from_datetime

MAX_CRON_LENGTH: Final = 256
FIVE_FIELDS: Final = r"[0-9A-Za-z*,/#-]+( +[0-9A-Za-z*,/#-]+){4}"
"""What an expression matches as a whole."""
_TO_SUNDAY: Final = re.compile(r"\b(MON|TUE|WED|THU|FRI|SAT|[1-6])-SUN\b", re.IGNORECASE)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_NOT_OF_IANA: Final = frozenset({"localtime", "Factory"})
"""Names that a machine may have beside the zones."""
_LONGEST_LOOK: Final = 1 << 62
"""Microseconds: longer than there are dates."""


def check_cron(text: str) -> None:
    """Raises ValueError, worded to follow a field's name, for what is no cron expression or never comes."""
    if len(text) > MAX_CRON_LENGTH or not re.fullmatch(FIVE_FIELDS, text):
        raise ValueError(
            "must be five fields: minute, hour, day of month, month, day of week, such as 30 9 * * MON-FRI"
        )
    try:
        comes = next(_local_times(text, datetime(2000, 1, 1)), None)  # noqa: DTZ001  # a plain local time
    except (CronSimError, AssertionError) as error:
        raise ValueError(f"is not a cron expression that can come true: {_reason(error)}") from None
    if comes is None:
        raise ValueError("names a date that never comes")


def check_timezone(name: str) -> None:
    """Raises ValueError, worded to follow a field's name, for what is no zone of the IANA database."""
    if name not in _zones():
        raise ValueError("must be an IANA time zone such as Europe/Berlin")


def cron_slots(cron: str, timezone: str, after: Instant) -> Iterator[Instant]:
    """The slots after an instant, strictly increasing. Both names must have passed their check."""
    zone = ZoneInfo(timezone)
    minute, hour = cron.split()[:2]
    at_fixed_times = not (minute.startswith("*") or hour.startswith("*"))
    local_times = _local_times(cron, _local_time(after, zone))
    instants = _once_each if at_fixed_times else _running_through
    for slot in instants(local_times, zone):
        if slot > after:
            after = slot
            yield slot


def every_slots(start: Instant, seconds: int, after: Instant) -> Iterator[Instant]:
    """``start`` plus one span, two spans and so on, as far as they are after an instant."""
    span = seconds * SECOND
    slot = start + max(1, (after - start) // span + 1) * span
    while True:
        yield slot
        slot += span


def latest(
    slots_after: Callable[[Instant], Iterator[Instant]], after: Instant, by: Instant
) -> Instant | None:
    """The last slot later than ``after`` and not later than ``by``.

    It looks back over spans that grow, so the cost does not depend on how many slots there are.
    """
    span = 60 * SECOND
    while span < _LONGEST_LOOK and after < by:
        found = None
        for slot in slots_after(max(after, by - span)):
            if slot > by:
                break
            found = slot
        if found is not None or by - span <= after:
            return found
        span *= 2
    return None


def _local_times(cron: str, after: datetime) -> Iterator[datetime]:
    """Sunday at the end of a range, as in FRI-SUN, is day 7; cronsim would take it for day 0."""
    return CronSim(_TO_SUNDAY.sub(r"\1-7", cron), after)


def _once_each(local_times: Iterator[datetime], zone: ZoneInfo) -> Iterator[Instant]:
    """Each local time once; one that is skipped as the first after the gap. May repeat an instant there."""
    for local in local_times:
        first, second = _passes(local, zone)
        while first > second:
            local += _MINUTE
            first, second = _passes(local, zone)
        yield first


def _running_through(local_times: Iterator[datetime], zone: ZoneInfo) -> Iterator[Instant]:
    """Each instant that shows one of these local times: all of the first pass before the second."""
    waiting: deque[Instant] = deque()
    for local in local_times:
        first, second = _passes(local, zone)
        while waiting and waiting[0] < first:
            yield waiting.popleft()
        if first <= second:
            yield first
        if first < second:
            waiting.append(second)
    yield from waiting


def _passes(local: datetime, zone: ZoneInfo) -> tuple[Instant, Instant]:
    """The instants of a local time, read by the offset before and after a change of the clock.

    Equal away from changes; the first is earlier where the time is repeated, and later where it is skipped.
    """
    before = from_datetime(local.replace(tzinfo=zone, fold=0))
    return before, from_datetime(local.replace(tzinfo=zone, fold=1))


def _local_time(instant: Instant, zone: ZoneInfo) -> datetime:
    """Where to begin, so that no local time whose instant is later has been passed already.

    In the first pass of a repeated hour that is before the hour: all of it is still to come once more.
    """
    local = (_EPOCH + timedelta(microseconds=instant)).astimezone(zone).replace(tzinfo=None)
    first, second = _passes(local, zone)
    return local - timedelta(microseconds=second - first) if first < second else local


def _reason(error: Exception) -> str:
    return str(error).lower() or "it cannot be read"


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NOT_OF_IANA
