"""Slots: when a schedule fires. The clock's changes are held against a model that looks at each minute."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from aq.errors import ValidationError
from aq.ids import IdMinter
from aq.instants import SECOND, Instant, from_datetime
from aq.schedule import (
    CatchUp,
    NewSchedule,
    Schedule,
    changed,
    changed_fields,
    last_run_at,
    latest_slot,
    missed,
    new_schedule,
    next_due,
    queue_of,
    resumed,
    settled,
    slots_after,
    task_of,
    task_text,
)
from aq.slots import check_cron, check_timezone, cron_slots, every_slots, latest
from aq.task import Environment, JsonText, Method

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
TASK = {"queue": "q", "webhook_url": "http://h/"}
CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Sydney", "2026-10-04"),
    ("Australia/Sydney", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("America/Havana", "2026-03-08"),  # from midnight to one
    ("America/Havana", "2026-11-01"),
    ("Antarctica/Troll", "2026-03-29"),  # two hours
    ("Antarctica/Troll", "2026-10-25"),
    ("Asia/Kathmandu", "2026-06-01"),  # no change at all, and a quarter of an hour off
]
"""A zone, and a local day on which its clock is changed."""


def at(zone: str, text: str, *, fold: int = 0) -> Instant:
    """The instant of a local time."""
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold))


def shown(zone: str, instant: Instant) -> str:
    """What the local clock shows, with its offset."""
    moment = datetime.fromtimestamp(instant // SECOND, ZoneInfo(zone))
    return moment.isoformat(" ", "minutes")


def slots(cron: str, zone: str, after: str, count: int, *, fold: int = 0) -> list[str]:
    return [shown(zone, slot) for slot in islice(cron_slots(cron, zone, at(zone, after, fold=fold)), count)]


def schedule(**fields: Any) -> Schedule:
    known: dict[str, Any] = {"id": "s", "environment": Environment.LIVE, "task": json.dumps(TASK)}
    return Schedule(**{**known, "created_at": 0, "from_at": 0, **fields})


@pytest.mark.parametrize(
    ("days", "same"),
    [
        ("MON-SUN", "*"),
        ("Fri-Sun", "5,6,0"),
        ("5-SUN", "5,6,7"),
        ("THU-SUN/2,MON", "4,6,1"),
        ("SUN-MON", "0,1"),
        ("SUN-SUN", "0"),
    ],
)
def test_sunday_ends_a_range_as_day_7(days: str, same: str) -> None:
    check_cron(f"0 9 * * {days}")
    assert slots(f"0 9 * * {days}", "UTC", "2026-01-31 12:00", 20) == slots(
        f"0 9 * * {same}", "UTC", "2026-01-31 12:00", 20
    )


# -- the skipped and the repeated hour ----------------------------------------------------------------------
def test_a_job_at_a_skipped_time_runs_once_when_the_clock_has_moved() -> None:
    assert slots("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", 3) == [
        "2026-03-29 03:00+02:00",
        "2026-03-30 02:30+02:00",
        "2026-03-31 02:30+02:00",
    ]
    assert slots("30 2 * * *", "America/New_York", "2026-03-07 12:00", 2) == [
        "2026-03-08 03:00-04:00",
        "2026-03-09 02:30-04:00",
    ]
    assert slots("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", 2) == [
        "2026-10-04 02:30+11:00",
        "2026-10-05 02:15+11:00",
    ]


def test_several_skipped_times_are_one_run() -> None:
    assert slots("0,20,40 2,3 * * *", "Europe/Berlin", "2026-03-29 01:00", 4) == [
        "2026-03-29 03:00+02:00",
        "2026-03-29 03:20+02:00",
        "2026-03-29 03:40+02:00",
        "2026-03-30 02:00+02:00",
    ]


def test_a_job_in_a_repeated_hour_runs_in_its_first_pass_alone() -> None:
    assert slots("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", 2) == [
        "2026-10-25 02:30+02:00",
        "2026-10-26 02:30+01:00",
    ]
    assert slots("30 1 * * *", "America/New_York", "2026-10-31 12:00", 2) == [
        "2026-11-01 01:30-04:00",
        "2026-11-02 01:30-05:00",
    ]
    assert slots("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", 2) == [
        "2026-04-05 01:45+11:00",
        "2026-04-06 01:45+10:30",
    ]


def test_in_the_second_pass_a_job_of_the_first_is_over() -> None:
    """cronsim itself gives the first pass's time here: an instant in the past, which would fire twice."""
    assert slots("30 2 * * *", "Europe/Berlin", "2026-10-25 02:10", 1, fold=1) == ["2026-10-26 02:30+01:00"]


def test_a_job_of_every_so_often_runs_through() -> None:
    assert slots("*/30 * * * *", "Europe/Berlin", "2026-03-29 01:00", 3) == [
        "2026-03-29 01:30+01:00",
        "2026-03-29 03:00+02:00",
        "2026-03-29 03:30+02:00",
    ]
    assert slots("0 * * * *", "Europe/Berlin", "2026-10-25 01:00", 3) == [
        "2026-10-25 02:00+02:00",
        "2026-10-25 02:00+01:00",
        "2026-10-25 03:00+01:00",
    ]
    assert slots("*/30 * * * *", "Europe/Berlin", "2026-10-25 02:10", 4) == [
        "2026-10-25 02:30+02:00",
        "2026-10-25 02:00+01:00",
        "2026-10-25 02:30+01:00",
        "2026-10-25 03:00+01:00",
    ]


def test_after_a_change_by_half_an_hour_no_time_is_missed() -> None:
    """cronsim itself goes on in steps of an hour, begins at 5:30 and misses two."""
    expected = [f"2026-10-04 05:{minute:02}+11:00" for minute in (0, 15, 30, 45)]
    assert slots("*/15 5 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", 4) == expected


def test_a_day_that_a_zone_leaves_out_is_made_up_for() -> None:
    assert slots("0 12 30 * *", "Pacific/Apia", "2011-12-01 00:00", 2) == [
        "2011-12-31 00:00+14:00",
        "2012-01-30 12:00+14:00",
    ]


# -- against a model ----------------------------------------------------------------------------------------
def field_texts(least: int, most: int) -> st.SearchStrategy[str]:
    numbers = st.integers(least, most)
    return st.one_of(
        st.just("*"),
        st.sampled_from([2, 3, 5, 7, 15, 20, 30]).map("*/{}".format),
        numbers.map(str),
        st.lists(numbers, min_size=2, max_size=4).map(lambda many: ",".join(map(str, many))),
        st.tuples(numbers, numbers).map(lambda two: f"{min(two)}-{max(two)}"),
    )


times = st.tuples(field_texts(0, 59), field_texts(0, 4)).map(lambda two: f"{two[0]} {two[1]} * * *")
"""Crons for early in the day, when clocks are changed."""


def allowed(text: str, least: int, most: int) -> set[int]:
    """The numbers a field stands for."""
    found: set[int] = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            found.update(range(least, most + 1, int(step or 1)))
        else:
            found.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


def model(cron: str, zone: str, after: Instant, by: Instant) -> Iterator[Instant]:
    """The rules of Debian's cron, by looking at each minute. Days are not restricted."""
    minutes, hours = allowed(cron.split()[0], 0, 59), allowed(cron.split()[1], 0, 23)
    fixed = not (cron.split()[0].startswith("*") or cron.split()[1].startswith("*"))

    def matches(local: datetime) -> bool:
        return local.minute in minutes and local.hour in hours

    instant = after // MINUTE * MINUTE
    before = local_of(zone, instant - MINUTE)
    while instant <= by:
        local = local_of(zone, instant)
        runs = matches(local) and not (fixed and local.fold)
        if instant > after and (runs or (fixed and any(map(matches, gap_between(before, local))))):
            yield instant
        instant, before = instant + MINUTE, local


def gap_between(before: datetime, local: datetime) -> Iterator[datetime]:
    """The local times that are left out between two minutes; none where the clock only goes on, or back."""
    skipped = before.replace(fold=0) + timedelta(minutes=1)
    while skipped < local.replace(fold=0):
        yield skipped
        skipped += timedelta(minutes=1)


def local_of(zone: str, instant: Instant) -> datetime:
    return datetime.fromtimestamp(instant // SECOND, ZoneInfo(zone)).replace(tzinfo=None)


@settings(deadline=None)
@given(
    cron=times, change=st.sampled_from(CHANGES), begin=st.integers(-26 * 60, 6 * 60), odd=st.integers(0, 1)
)
def test_slots_are_those_of_a_model_that_looks_at_each_minute(
    cron: str, change: tuple[str, str], begin: int, odd: int
) -> None:
    zone, day = change
    after = at(zone, day) + begin * MINUTE + odd
    by = at(zone, day) + DAY
    found = list(takewhile(lambda slot: slot <= by, cron_slots(cron, zone, after)))
    assert found == list(model(cron, zone, after, by))
    assert all(earlier < later for earlier, later in pairwise([after, *found]))


@settings(deadline=None)
@given(cron=times, change=st.sampled_from(CHANGES), begin=st.integers(0, 8 * 60))
def test_slots_do_not_depend_on_where_one_begins(cron: str, change: tuple[str, str], begin: int) -> None:
    """What a restart rests on: seen from between two slots, the rest is the same."""
    zone, day = change
    start, by = at(zone, day) - DAY, at(zone, day) + DAY
    later = at(zone, day) + begin * MINUTE
    whole = list(takewhile(lambda slot: slot <= by, cron_slots(cron, zone, start)))
    rest = list(takewhile(lambda slot: slot <= by, cron_slots(cron, zone, later)))
    assert rest == [slot for slot in whole if slot > later]


@pytest.mark.parametrize(
    "cron", ["30 2 * * *", "0 2,3 * * 0-6", "*/20 2 * * *", "15 */2 * * *", "0 2 8,29,L * *"]
)
@pytest.mark.parametrize(("zone", "day"), CHANGES[:6])
def test_where_cronsim_is_right_the_slots_are_its_own(cron: str, zone: str, day: str) -> None:
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)) - timedelta(days=3, hours=12)
    by = from_datetime(begin) + 7 * DAY
    own = takewhile(lambda slot: slot <= by, (from_datetime(moment) for moment in CronSim(cron, begin)))
    found = takewhile(lambda slot: slot <= by, cron_slots(cron, zone, from_datetime(begin)))
    assert list(found) == list(own)


# -- what is refused ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        *("", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* 24 * * *", "a b c d e", "*/0 * * * *"),
        *(
            "0 0 0 * *",
            "0 0 * 13 *",
            "0 0 * * 8",
            "5-1 * * * *",
            "0 0 * * MON#6",
            "\t* * * * *",
            "²* * * * *",
        ),
        *("0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 */31 * MON#2", "0 0 30-31 2 */2", "1," * 200 + "1 * * * *"),
    ],
)
def test_what_is_no_cron_or_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must be|is not|names)"):
        check_cron(text)


@pytest.mark.parametrize(
    "text", ["* * * * *", "0 0 29 2 *", "0 0 * 2 MON#5", "0 9 L * *", "0 9 LW * *", "0 0 * * 5L"]
)
def test_what_comes_at_last_is_taken(text: str) -> None:
    check_cron(text)
    assert len(list(islice(cron_slots(text, "Europe/Berlin", 1_790_000_000 * SECOND), 5))) == 5


@settings(deadline=None)
@given(st.text(alphabet="0123456789*,/-#LWMONJAN ", max_size=40))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        check_cron(text)
    except ValueError:
        return
    assert next(cron_slots(text, "UTC", 0))


@pytest.mark.parametrize(
    "name", ["", "Europe", "Europe/berlin", "../etc/passwd", "localtime", "right/UTC", "CEST"]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be an IANA time zone"):
        check_timezone(name)


# -- a fixed span -------------------------------------------------------------------------------------------
def test_every_counts_from_its_beginning() -> None:
    assert list(islice(every_slots(7, 10, 0), 2)) == [7 + 10 * SECOND, 7 + 20 * SECOND]
    assert next(every_slots(7, 10, 7 + 10 * SECOND)) == 7 + 20 * SECOND
    assert next(every_slots(7, 10, 6 + 10 * SECOND)) == 7 + 10 * SECOND
    assert next(every_slots(7, 10, 7 + 10**6 * SECOND)) == 7 + 1_000_010 * SECOND


@settings(deadline=None)
@given(
    after=st.integers(0, 30 * DAY),
    by=st.integers(0, 30 * DAY),
    cron=st.sampled_from(["*/7 * * * *", "0 5 * * 1"]),
)
def test_the_latest_slot_is_the_last_of_all(after: int, by: int, cron: str) -> None:
    found = latest(lambda instant: cron_slots(cron, "UTC", instant), after, by)
    every = list(takewhile(lambda slot: slot <= by, cron_slots(cron, "UTC", after)))
    assert found == (every[-1] if every else None)


def test_the_latest_slot_of_a_century_is_found_at_once() -> None:
    asked: list[Instant] = []

    def each_second(instant: Instant) -> Iterator[Instant]:
        for slot in every_slots(0, 1, instant):
            asked.append(slot)
            yield slot

    assert latest(each_second, 0, 36_500 * DAY) == 36_500 * DAY
    assert len(asked) < 100


# -- what is due --------------------------------------------------------------------------------------------
def test_which_of_the_missed_slots_are_fired_is_said_by_catch_up() -> None:
    hourly = schedule(every=3_600, last_slot=2 * HOUR)
    now = 5 * HOUR + 1
    assert list(missed(evolve(hourly, catch_up=CatchUp.NONE), now)) == []
    assert list(missed(evolve(hourly, catch_up=CatchUp.LAST), now)) == [5 * HOUR]
    assert list(missed(evolve(hourly, catch_up=CatchUp.ALL), now)) == [3 * HOUR, 4 * HOUR, 5 * HOUR]
    assert [next_due(evolve(hourly, catch_up=kind), now) for kind in CatchUp] == [
        6 * HOUR,
        5 * HOUR,
        3 * HOUR,
    ]


def test_what_came_since_the_service_is_up_is_due_however_late() -> None:
    for kind in CatchUp:
        assert next_due(schedule(every=3_600, catch_up=kind), HOUR - 1) == HOUR


def test_a_settled_slot_and_those_before_it_are_never_due_again() -> None:
    done = settled(schedule(every=3_600, catch_up=CatchUp.ALL), 3 * HOUR, "task_a")
    assert (done.last_slot, done.last_task_id, done.version) == (3 * HOUR, "task_a", 2)
    assert next_due(done, 9 * HOUR) == 4 * HOUR
    assert settled(done, HOUR).last_slot == 3 * HOUR
    assert settled(done, 4 * HOUR).last_task_id == "task_a"


def test_a_paused_schedule_has_nothing_due_and_its_pause_is_not_made_up_for() -> None:
    paused = schedule(every=3_600, catch_up=CatchUp.ALL, paused=True, last_slot=HOUR)
    assert next_due(paused, 0) is None
    assert next_due(resumed(paused, 5 * HOUR + 7), 0) == 6 * HOUR
    cron = schedule(cron="0 * * * *", catch_up=CatchUp.ALL, paused=True, last_slot=HOUR)
    assert next_due(resumed(cron, 5 * HOUR + 7), 0) == 6 * HOUR


def test_slots_passed_over_in_silence_stay_so_under_another_catch_up() -> None:
    before = schedule(every=3_600, catch_up=CatchUp.NONE, last_slot=HOUR)
    after = changed(before, evolve(before, catch_up=CatchUp.ALL), 5 * HOUR + 1)
    assert (after.last_slot, after.version) == (5 * HOUR, 2)
    assert list(missed(after, 6 * HOUR)) == [6 * HOUR]


def test_slots_of_a_schedule_begin_after_its_creation() -> None:
    assert next(slots_after(schedule(cron="0 * * * *", from_at=HOUR), 0)) == 2 * HOUR
    assert latest_slot(schedule(every=60, from_at=HOUR), HOUR + MINUTE - 1) is None


def test_when_it_last_ran_is_told_by_the_task() -> None:
    assert last_run_at(schedule(every=1)) is None
    task_id = IdMinter(lambda bits: 0).mint(1_790_000_000_123_456)
    assert last_run_at(schedule(every=1, last_task_id=task_id)) == 1_790_000_000_123_000


# -- fields -------------------------------------------------------------------------------------------------
def named(fields: dict[str, Any]) -> set[str]:
    with pytest.raises(ValidationError) as told:
        new_schedule(fields)
    return {error.field for error in told.value.errors}


def test_every_wrong_field_is_named_at_once_also_within_the_task() -> None:
    assert named({}) == {"task", "cron"}
    assert named({"task": TASK}) == {"cron"}
    assert named({"task": TASK, "cron": "* * * * *", "every": 5}) == {"every"}
    assert named({"task": TASK, "every": 5, "timezone": "Europe/Berlin"}) == {"timezone"}
    assert named({"task": [], "every": 0}) == {"task", "every"}
    assert named(
        {
            "cron": "0 0 30 2 *",
            "timezone": "Mars",
            "task": {
                "queue": "a b",
                "delay": 5,
                "run_at": None,
                "idempotency_key": "x",
                "priority": 0,
                "odd": 1,
            },
            "overlap": "never",
            "catch_up": None,
            "name": "x",
        }
    ) == {
        *("cron", "timezone", "overlap", "catch_up", "name"),
        *("task.queue", "task.webhook_url", "task.delay", "task.run_at", "task.idempotency_key"),
        *("task.priority", "task.odd"),
    }


@pytest.mark.parametrize("every", [0, 31_536_001, 1.5, "60", True])
def test_every_is_a_whole_number_of_seconds_up_to_a_year(every: object) -> None:
    assert named({"task": TASK, "every": every}) == {"every"}
    NewSchedule(task=TASK, every=31_536_000)


def test_a_task_is_kept_as_it_was_given() -> None:
    given_ = {
        **TASK,
        "payload": {"a": [1.0, "ä"]},
        "method": "PUT",
        "headers": {"X-One": "1"},
        "tags": ["t"],
        "expires_in": 60,
        "callback_url": None,
    }
    text = task_text(given_)
    assert json.loads(text) == {**given_, "headers": {"x-one": "1"}}
    task = task_of(text)
    assert (task.method, task.headers, task.tags, task.expires_in) == (
        Method.PUT,
        (("x-one", "1"),),
        ("t",),
        60,
    )
    assert task.payload == '{"a":[1.0,"ä"]}'.encode()
    assert task_of(task_text(TASK)).payload == b"{}"
    assert queue_of(schedule(every=1, task=text)) == "q"


@pytest.mark.parametrize("number", [b"1e309", b"7" * 4_301, b"-0.0", b"1.0e2"])
def test_any_number_of_json_stays_as_it_is_in_a_payload(number: bytes) -> None:
    payload = b'{"n":%b}' % number
    assert task_of(task_text({**TASK, "payload": JsonText(payload)})).payload == payload


def test_a_new_rhythm_takes_the_place_of_the_old() -> None:
    cron = schedule(cron="0 9 * * *", timezone="Europe/Berlin")
    spanned = new_schedule(changed_fields(cron, {"every": 60}))
    assert (spanned.cron, spanned.every, spanned.timezone) == (None, 60, "UTC")
    back = new_schedule(changed_fields(schedule(every=60), {"cron": "0 9 * * *"}))
    assert (back.cron, back.every) == ("0 9 * * *", None)
    kept = new_schedule(changed_fields(cron, {"overlap": "skip"}))
    assert (kept.cron, kept.timezone, kept.task) == ("0 9 * * *", "Europe/Berlin", cron.task)


def test_far_slots_can_be_told() -> None:
    last = list(islice(slots_after(schedule(cron="0 0 * 2 MON#5"), 1_790_000_000 * SECOND), 5))[-1]
    assert datetime(2100, 1, 1, tzinfo=UTC) < datetime.fromtimestamp(last // SECOND, UTC)
