"""When a schedule fires, in words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice

import pytest

from aq.dashboard.rhythm import cron_in_words, every_in_words, local
from aq.instants import from_datetime, to_rfc3339
from aq.slots import cron_slots


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/5 9-17 * * 1-5", "every 5 minutes, 09:00 to 17:59 from Monday to Friday"),
        ("0 * * * *", "every hour"),
        ("15,45 * * * *", "every hour at minutes 15 and 45"),
        ("0 */6 * * *", "every 6 hours"),
        ("30 */2 * * *", "every 2 hours at minute 30"),
        ("30 8 * * *", "every day at 08:30"),
        ("0 9,17 * * *", "every day at 09:00 and 17:00"),
        ("0 0 * * SUN", "at 00:00 on Sunday"),
        ("0 0 * * 7", "at 00:00 on Sunday"),
        ("0 9 * * mon,wed,fri", "at 09:00 on Monday, Wednesday and Friday"),
        ("0 9 1 * *", "at 09:00 on the 1st of every month"),
        ("0 9 L * *", "at 09:00 on the last day of every month"),
        ("0 9 2,22,23 * *", "at 09:00 on the 2nd, 22nd and 23rd of every month"),
        ("0 9 1 JAN *", "at 09:00 on the 1st of January"),
        ("0 9 * 6-8 *", "at 09:00 from June to August"),
    ],
)
def test_usual_expressions(cron: str, words: str) -> None:
    assert cron_in_words(cron) == words


@pytest.mark.parametrize("cron", ["0 9 1 * MON", "1-59/7 3 * * *", "0 9 * * MON#2", "*/7 1,2,9 * * *"])
def test_what_has_no_short_words_is_told_field_by_field(cron: str) -> None:
    fields = cron.split()
    assert (
        re.findall(r"(?:minute|hour|day|month|weekday) (\S+?)(?:,|$)(?= |$)", cron_in_words(cron)) == fields
    )


def test_every() -> None:
    assert [every_in_words(seconds) for seconds in (1, 45, 60, 900, 3_600, 86_400, 5_400)] == [
        *("every second", "every 45 s", "every minute", "every 15 min", "every hour", "every day"),
        "every 1 h 30 min",
    ]


def test_an_instant_is_told_as_the_clocks_of_its_zone_show_it() -> None:
    after = from_datetime(datetime(2026, 3, 28, 12, tzinfo=UTC))
    slots = islice(cron_slots("30 9 * * *", "Europe/Berlin", after), 2)
    assert [local(to_rfc3339(slot), "Europe/Berlin") for slot in slots] == [
        "Sun 29 Mar 2026 09:30 CEST",
        "Mon 30 Mar 2026 09:30 CEST",
    ]
    assert local("2026-01-31T09:30:05.000000Z", "UTC") == "Sat 31 Jan 2026 09:30:05 UTC"
