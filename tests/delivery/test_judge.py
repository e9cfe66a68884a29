from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aq.delivery.judge import judge
from aq.delivery.protocol import WebhookResponse
from aq.instants import SECOND
from aq.outcome import AttemptStatus, ErrorType, Outcome, Timing

NOW = 784_111_777 * SECOND  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples


def answered(status: int, *headers: tuple[str, str], body: bytes = b"") -> Outcome:
    return judge(WebhookResponse(status, headers, body, Timing(total=5)), NOW)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226, 299])
def test_every_2xx_is_success(status: int) -> None:
    outcome = answered(status, body=b"x" * 5_000)
    assert outcome.succeeded
    assert (outcome.error_type, outcome.error, outcome.response_code) == (None, None, status)
    assert outcome.response_body == b"x" * 1_024
    assert outcome.timing == Timing(total=5)


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (400, ErrorType.HTTP_4XX, "answered 400 Bad Request"),
        (404, ErrorType.HTTP_4XX, "answered 404 Not Found"),
        (499, ErrorType.HTTP_4XX, "answered 499"),
        (410, ErrorType.GONE, "answered 410 Gone: the receiver wants no more attempts"),
        (429, ErrorType.HTTP_429, "answered 429 Too Many Requests"),
        (500, ErrorType.HTTP_5XX, "answered 500 Internal Server Error"),
        (503, ErrorType.HTTP_5XX, "answered 503 Service Unavailable"),
        (599, ErrorType.HTTP_5XX, "answered 599"),
        (101, ErrorType.HTTP_5XX, "answered 101 Switching Protocols"),
        (99, ErrorType.HTTP_5XX, "answered 99"),
        (600, ErrorType.HTTP_5XX, "answered 600"),
        (999, ErrorType.HTTP_5XX, "answered 999"),
        (
            304,
            ErrorType.REDIRECT,
            "answered 304 Not Modified: redirects are not followed, use the final URL as webhook_url",
        ),
    ],
)
def test_everything_else_is_a_failure_of_its_kind(status: int, kind: ErrorType, told: str) -> None:
    outcome = answered(status, body=b"x" * 20_000)
    assert (outcome.status, outcome.error_type, outcome.error) == (AttemptStatus.FAILURE, kind, told)
    assert outcome.response_code == status
    assert outcome.response_body == b"x" * 16_384
    assert outcome.final is (status == 410)


def test_a_redirect_says_where_it_would_have_led() -> None:
    outcome = answered(302, ("Location", "https://example.com/\x00new" + "x" * 999))
    assert outcome.error is not None
    assert "answered 302 Found to https://example.com/new" in outcome.error
    assert len(outcome.error) < 400


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 1 ", 1),
        ("86400", 86_400),
        ("86401", 86_400),
        ("999999999999999999", 86_400),
        ("Sun, 06 Nov 1994 08:51:37 GMT", 120),
        ("Sunday, 06-Nov-94 08:51:37 GMT", 120),
        ("Sun Nov  6 08:51:37 1994", 120),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 86_400),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 00:00:00 GMT", None),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("9" * 5_000, None),
    ],
)
def test_retry_after(status: int, text: str, seconds: float | None) -> None:
    assert answered(status, ("Retry-After", text)).retry_after == seconds


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_retry_after_counts_for_429_and_503_only(status: int) -> None:
    assert answered(status, ("Retry-After", "5")).retry_after is None


@given(st.integers(0, 1_000), st.text(), st.text())
def test_no_answer_breaks_the_judge(status: int, retry_after: str, location: str) -> None:
    outcome = answered(status, ("retry-after", retry_after), ("location", location))
    assert outcome.succeeded is (200 <= status <= 299)
    assert 0 < (outcome.retry_after or 1) <= 86_400
