"""What may be asked of a task, beyond the plain numbers of test_rules."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aq.errors import ValidationError
from aq.rules import structure
from aq.task import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    RESERVED_HEADERS,
    RESERVED_PREFIXES,
    Headers,
    Method,
    NewTask,
    Options,
)

GOOD: dict[str, Any] = {"queue": "q", "webhook_url": "http://h/"}
MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
MUST_BE_AN_INSTANT = "must be an RFC 3339 instant such as 2026-01-31T09:30:00Z, or null"


def made(**fields: Any) -> NewTask:
    """By a call and from JSON alike."""
    task = NewTask(**GOOD, **fields)
    assert structure({**GOOD, **fields}, NewTask) == task
    return task


def refusal(field: str, value: Any) -> str:
    """What is said of a wrong value, by a call and from JSON alike; it is said of this field alone."""
    with pytest.raises(ValidationError) as as_call:
        NewTask(**GOOD, **{field: value})
    with pytest.raises(ValidationError) as as_json:
        structure({**GOOD, field: value}, NewTask)
    assert as_call.value.errors == as_json.value.errors
    (error,) = as_call.value.errors
    assert error.field == field
    assert str(as_call.value) == f"{field} {error.message}"
    return error.message


def test_what_nobody_asked_for() -> None:
    task = made()
    assert (task.run_at, task.expires_in, task.ordering_key, task.callback_url) == (None,) * 4
    assert task.idempotency_key is None
    assert (task.method, task.headers, task.tags) == (Method.POST, (), ())


# -- run_at -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T09:30:00Z", MOMENT),
        ("2026-01-31t09:30:00z", MOMENT),
        ("2026-01-31T09:30:00+00:00", MOMENT),
        ("2026-01-31T09:30:00-00:00", MOMENT),
        ("2026-01-31T11:00:00+01:30", MOMENT),
        ("2026-01-31T00:30:00-09:00", MOMENT),
        ("2026-01-31T09:30:00.5Z", MOMENT.replace(microsecond=500_000)),
        ("2026-01-31T09:30:00.123456Z", MOMENT.replace(microsecond=123_456)),
        ("2026-01-31T09:30:00.123456789Z", MOMENT.replace(microsecond=123_456)),
        ("2000-02-29T00:00:00Z", datetime(2000, 2, 29, tzinfo=UTC)),
    ],
)
def test_run_at_as_text(text: str, moment: datetime) -> None:
    assert made(run_at=text).run_at == moment


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
def test_run_at_as_a_datetime(zone: timezone) -> None:
    assert made(run_at=MOMENT.astimezone(zone)).run_at == MOMENT


offsets = st.integers(-1_439, 1_439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=offsets).filter(lambda moment: 1 < moment.year < 9999)


@given(moments)
def test_every_instant_can_be_written_with_every_offset(moment: datetime) -> None:
    assert NewTask(**GOOD, run_at=moment.isoformat()).run_at == moment


@pytest.mark.parametrize(
    "value",
    [
        "",
        "tomorrow",
        "2026-01-31",
        "2026-01-31T09:30:00",  # without an offset it is no instant
        "2026-01-31 09:30:00Z",
        "2026-01-31T09:30Z",
        "2026-01-31T09:30:00.Z",
        "2026-01-31T09:30:00.1234567890Z",
        "2026-01-31T09:30:00+0100",
        "2026-01-31T09:30:00+24:00",
        "2026-01-31T09:30:00Z ",
        "2026-01-31T09:30:00Z\n",
        "2026-02-29T00:00:00Z",
        "2026-01-31T24:30:00Z",
        "2026-01-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",  # before the first instant there is
        "20260131T093000Z",
        "２０２６-01-31T09:30:00Z",
        1_769_851_800,
        1.5,
        True,
        ["2026-01-31T09:30:00Z"],
        datetime(2026, 1, 31, 9, 30),  # noqa: DTZ001
        MOMENT.date(),
    ],
)
def test_a_wrong_run_at(value: Any) -> None:
    assert refusal("run_at", value) == MUST_BE_AN_INSTANT


@pytest.mark.parametrize("run_at", [MOMENT, "2026-01-31T09:30:00Z"])
def test_run_at_and_delay_are_not_given_together(run_at: Any) -> None:
    with pytest.raises(ValidationError, match="run_at must not be given together with delay"):
        NewTask(**GOOD, run_at=run_at, delay=1)
    with pytest.raises(ValidationError, match="run_at must not be given together with delay"):
        structure({**GOOD, "run_at": run_at, "delay": 1}, NewTask)
    assert made(run_at=run_at, delay=0).run_at == MOMENT
    assert made(run_at=None, delay=1).delay == 1


# -- expires_in, method -------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [0, -1, 31_536_001, 1.0, "60", True, [60]])
def test_a_wrong_expires_in(value: Any) -> None:
    assert refusal("expires_in", value) == "must be an integer from 1 to 31,536,000, or null"


def test_the_edges_of_expires_in() -> None:
    assert [made(expires_in=value).expires_in for value in (1, 31_536_000, None)] == [1, 31_536_000, None]


@pytest.mark.parametrize("method", Method)
def test_a_method_by_its_name_and_as_itself(method: Method) -> None:
    assert made(method=str(method)).method is method
    assert made(method=method).method is method


@pytest.mark.parametrize(
    "value", ["post", "HEAD", "CONNECT", "OPTIONS", "TRACE", "", "GET ", None, 1, ["GET"]]
)
def test_a_wrong_method(value: Any) -> None:
    assert refusal("method", value) == "must be one of POST, GET, PUT, PATCH, DELETE"


# -- headers ------------------------------------------------------------------------------------------------
def test_headers_are_kept_in_order_with_names_in_lower_case() -> None:
    given_ = {"X-Zeta": "1", "Authorization": "Bearer a b\tc", "a": ""}
    expected = (("x-zeta", "1"), ("authorization", "Bearer a b\tc"), ("a", ""))
    for value in (given_, MappingProxyType(given_)):
        headers = made(headers=value).headers
        assert headers == expected
        assert isinstance(headers, Headers)
        assert made(headers=headers).headers == expected


def test_every_character_of_a_name_and_of_a_value() -> None:
    name, value = "!#$%&'*+-.^_`|~09azaz", "".join(map(chr, range(0x21, 0x7F)))
    assert made(headers={name: f"{value} \t{value}"}).headers == ((name, f"{value} \t{value}"),)


@pytest.mark.parametrize("name", sorted(RESERVED_HEADERS))
@pytest.mark.parametrize("form", [str.lower, str.upper, str.title])
def test_a_header_that_is_ours_or_the_connections(name: str, form: Any) -> None:
    said = refusal("headers", {form(name): "x"})
    assert said == f"must not set {name}: the service or the connection does"


def test_which_headers_are_ours_or_the_connections() -> None:
    """RFC 9110, section 7.6.1, RFC 9112, and what a signed webhook carries."""
    connection = {"connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization"}
    connection |= {"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
    ours = {"host", "content-length", "content-type", "user-agent", "traceparent", "tracestate"}
    assert connection | ours == RESERVED_HEADERS
    assert RESERVED_PREFIXES == ("webhook-", "x-asyncqueue-")


@pytest.mark.parametrize("name", ["Webhook-Id", "webhook-signature", "WEBHOOK-", "X-AsyncQueue-Signature"])
def test_a_header_of_our_families(name: str) -> None:
    assert refusal("headers", {name: "x"}).startswith(f"must not set {name.lower()}: ")


@pytest.mark.parametrize("name", ["webhook", "x-webhook-id", "x-asyncqueue", "tea", "hosted", "x-host"])
def test_a_header_that_only_looks_like_ours(name: str) -> None:
    assert made(headers={name: "x"}).headers == ((name, "x"),)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            " ",
            "a b",
            " a",
            "a ",
            "a:",
            ":",
            "a\r",
            "a\nb",
            "a\0",
            "a\tb",
            "é",
            "(a)",
            "a/b",
            "a,b",
            "\x7f",
        ),
        *("x" * 129, "\ud800", "x\u212a"),  # the last one's lower case is ASCII
    ],
)
def test_a_name_that_no_header_can_have(name: str) -> None:
    said = refusal("headers", {name: "x"})
    assert said.startswith("has a name that no header can have: ")
    assert said.isascii()
    assert said.isprintable()
    assert len(said) < 500


def test_a_header_written_as_a_line_is_told_without_its_value() -> None:
    said = refusal("headers", {"X-Token: s3cret": ""})
    assert said == "has a name that no header can have: 'X-Token' and more"


@pytest.mark.parametrize(
    "value",
    [
        "a\r\nb: c",
        "\r",
        "\n",
        "a\n",
        "\0",
        "a\0b",
        "\x1b[2J",
        "\x7f",
        "é",
        "\ud800",
        "\u2028",
        " a",
        "a ",
        "\ta",
        " ",
    ],
)
def test_a_value_that_is_not_plain(value: str) -> None:
    assert refusal("headers", {"X-Mine": value}) == "has a value for x-mine that is not plain printable ASCII"


@pytest.mark.parametrize(
    "value",
    [None, 5, True, "a: b", [["a", "b"]], (("a", "b"),), {"a": 1}, {"a": None}, {"a": ["b"]}, {1: "b"}],
)
def test_headers_that_are_no_names_and_values(value: Any) -> None:
    assert refusal("headers", value).startswith("must be an object ")


def test_how_many_headers_and_how_much_in_all() -> None:
    names = [f"x-{number:02}" for number in range(MAX_HEADERS + 1)]
    assert len(made(headers=dict.fromkeys(names[:-1], "")).headers) == MAX_HEADERS == 32
    assert refusal("headers", dict.fromkeys(names, "")) == "must be at most 32 headers, none of them twice"
    assert MAX_HEADER_BYTES == 8_192
    made(headers={"x": "v" * 4_095, "y": "v" * 4_095})
    assert refusal("headers", {"x": "v" * 4_095, "y": "v" * 4_096}) == "must be at most 8,192 bytes in all"
    made(headers={"x" * 128: ""})


def test_one_name_in_two_cases() -> None:
    said = refusal("headers", {"X-Mine": "1", "x-mine": "2"})
    assert said == "must be at most 32 headers, none of them twice"


def test_the_values_of_headers_are_not_shown() -> None:
    task = made(headers={"authorization": "Bearer xyz"})
    assert "xyz" not in repr(task)
    assert "xyz" not in repr(Options(headers=task.headers))
    assert "xyz" not in refusal("headers", {"authorization": "Bearer xyz\n"})


odd = st.text(st.sampled_from(" \t\r\n\0:é\x7f\u212aAz09-_~,;"), max_size=4)


@given(st.dictionaries(odd, odd, max_size=3))
def test_whatever_headers_are_given_what_is_accepted_is_plain(headers: dict[str, str]) -> None:
    try:
        accepted = NewTask(**GOOD, headers=headers).headers
    except ValidationError:
        return  # which ones these are, others tell
    assert dict(accepted) == {name.lower(): value for name, value in headers.items()}
    assert all(name.isascii() for name in headers)
    for name, value in accepted:
        assert re.fullmatch("[a-z0-9_~-]+", name)
        assert value == value.strip(" \t")
        assert value.isascii()
        assert value.replace("\t", " ").isprintable()


# -- ordering_key, tags, idempotency_key, callback_url ------------------------------------------------------
@pytest.mark.parametrize("value", ["a", "x" * 256, "Müller, 5 / ü", " ", "\U0001f600" * 256, None])
def test_an_ordering_key(value: str | None) -> None:
    assert made(ordering_key=value).ordering_key == value


@pytest.mark.parametrize("value", ["", "x" * 257, "a\n", "\0", "a\x7f", "\ud800", 5, True, ["a"]])
def test_a_wrong_ordering_key(value: Any) -> None:
    assert refusal("ordering_key", value) == "must be 1 to 256 characters without controls, or null"


def test_tags_in_the_order_given_and_none_twice() -> None:
    for value in (["b", "a", "b"], ("b", "a", "b")):
        assert made(tags=value).tags == ("b", "a")
    assert made(tags=[]).tags == ()
    assert made(tags=["x" * 64, "é, ü"]).tags == ("x" * 64, "é, ü")
    assert len(made(tags=[str(number) for number in range(16)]).tags) == 16


@pytest.mark.parametrize("value", [None, "tag", {"a": 1}, {"a"}, 5, [str(number) for number in range(17)]])
def test_tags_that_are_no_short_list(value: Any) -> None:
    assert refusal("tags", value) == "must be a list of 0 to 16"


@pytest.mark.parametrize("value", ["", "x" * 65, "a\n", "\x1f", "\ud800", 5, None, ["a"]])
def test_a_wrong_tag(value: Any) -> None:
    assert refusal("tags", ["a", value]) == "has an item that must be 1 to 64 characters without controls"


@pytest.mark.parametrize("value", ["a", "x" * 255, "order 17 ~", None])
def test_an_idempotency_key(value: str | None) -> None:
    assert made(idempotency_key=value).idempotency_key == value


@pytest.mark.parametrize("value", ["", "x" * 256, "é", "a\tb", "a\n", "\0", "\x7f", 5, True])
def test_a_wrong_idempotency_key(value: Any) -> None:
    assert refusal("idempotency_key", value) == "must be 1 to 255 printable ASCII characters, or null"


@pytest.mark.parametrize("value", ["http://h/", "https://h:8443/a?b=c", None])
def test_a_callback_url(value: str | None) -> None:
    assert made(callback_url=value).callback_url == value


@pytest.mark.parametrize(
    "value", ["", "h", "/a", "ftp://h/", "http://u:p@h/", "http://h/#f", "http://h/\n", 5, ["http://h/"]]
)
def test_a_wrong_callback_url(value: Any) -> None:
    assert refusal("callback_url", value).startswith("must ")


def test_every_wrong_field_is_named_at_once() -> None:
    wrong: dict[str, Any] = {
        "run_at": "soon",
        "expires_in": 0,
        "method": "HEAD",
        "headers": {"host": "x"},
        "ordering_key": "",
        "tags": [""],
        "callback_url": "x",
        "idempotency_key": "",
        "delay": -1,
    }
    with pytest.raises(ValidationError) as caught:
        NewTask(**GOOD, **wrong)
    assert {error.field for error in caught.value.errors} == wrong.keys()
    with pytest.raises(ValidationError) as as_json:
        structure({**GOOD, **wrong}, NewTask)
    assert {error.field for error in as_json.value.errors} == wrong.keys()
