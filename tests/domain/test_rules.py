"""What comes in as JSON or as a constructor call: strict, and every wrong field at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aq.errors import ValidationError
from aq.policy import QueuePolicy
from aq.rules import structure, unstructure
from aq.task import MAX_PAYLOAD_NESTING, JsonText, NewTask, nesting

GOOD = {"queue": "q", "webhook_url": "http://h/"}

WRONG: list[tuple[str, Any]] = [
    ("queue", ""),
    ("queue", "a b"),
    ("queue", "a/b"),
    ("queue", "é"),
    ("queue", "a\n"),
    ("queue", "x" * 129),
    ("queue", 5),
    ("queue", None),
    ("queue", ["q"]),
    ("webhook_url", 7),
    ("webhook_url", None),
    ("webhook_url", "ftp://h/"),
    ("payload", [1]),
    ("payload", "text"),
    ("payload", 1),
    ("payload", True),
    ("payload", None),
    ("payload", {"a": float("nan")}),
    ("payload", {"a": object()}),
    ("payload", {"a": "x" * (1 << 20)}),
    ("delay", -1),
    ("delay", 31_536_001),
    ("delay", 1.0),
    ("delay", "1"),
    ("delay", True),
    ("delay", None),
    ("priority", 0),
    ("priority", 11),
    ("priority", 5.0),
    ("priority", "5"),
    ("priority", True),
    ("max_retries", -1),
    ("max_retries", 101),
    ("max_retries", False),
    ("max_retries", "3"),
    ("timeout", 0),
    ("timeout", 901),
    ("timeout", 30.5),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_value_names_its_field(field: str, value: Any) -> None:
    data: dict[str, Any] = {**GOOD, field: value}
    with pytest.raises(ValidationError) as as_json:
        structure(data, NewTask)
    with pytest.raises(ValidationError) as as_call:
        NewTask(**data)
    assert as_json.value.errors == as_call.value.errors
    assert [error.field for error in as_json.value.errors] == [field]
    assert as_json.value.errors[0].message.startswith("must be ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("queue", "A.z_9-"),
        ("queue", "x" * 128),
        ("payload", {}),
        ("payload", {"a": [1, None]}),
        ("delay", 0),
        ("delay", 31_536_000),
        ("priority", 1),
        ("priority", 10),
        ("max_retries", 0),
        ("max_retries", 100),
        ("max_retries", None),
        ("timeout", 1),
        ("timeout", 900),
    ],
)
def test_the_edges_are_in(field: str, value: Any) -> None:
    assert structure({**GOOD, field: value}, NewTask) == NewTask(**{**GOOD, field: value})


def test_every_wrong_missing_and_unknown_field_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        structure({"webhook_url": "x", "delay": -1, "priority": "5", "prioritty": 1}, NewTask)
    told = {error.field: error.message for error in caught.value.errors}
    assert set(told) == {"queue", "webhook_url", "delay", "priority", "prioritty"}
    assert told["queue"] == "is required"
    assert told["prioritty"] == "is not known here"


def test_a_clients_bytes_stay_as_they_are() -> None:
    text = JsonText(b'{ "n": 1.00, "big": 1e400 }')
    assert structure({**GOOD, "payload": text}, NewTask).payload is text


def test_payload_nesting_has_a_bound() -> None:
    def nested(levels: int) -> Any:
        return {"a": nested(levels - 1)} if levels > 1 else {}

    assert nesting(nested(MAX_PAYLOAD_NESTING)) == MAX_PAYLOAD_NESTING
    NewTask("q", "http://h/", nested(MAX_PAYLOAD_NESTING))
    with pytest.raises(ValidationError):
        NewTask("q", "http://h/", nested(MAX_PAYLOAD_NESTING + 1))


policies = st.builds(
    QueuePolicy,
    max_retries=st.integers(0, 100),
    retry_backoff=st.sampled_from(["exponential", "linear", "fixed"]),
    retry_delay=st.floats(0, 86_400) | st.integers(0, 86_400),
    retry_jitter=st.floats(0, 1),
    timeout=st.integers(1, 900),
    concurrency=st.integers(1, 10_000),
    paused=st.booleans(),
)


@given(policies)
def test_a_policy_goes_to_json_and_back(policy: QueuePolicy) -> None:
    assert structure(unstructure(policy), QueuePolicy) == policy


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("retry_backoff", "quadratic"),
        ("retry_backoff", None),
        ("retry_delay", -0.1),
        ("retry_delay", float("nan")),
        ("retry_delay", "1"),
        ("retry_jitter", 1.1),
        ("retry_jitter", True),
        ("timeout", 0),
        ("concurrency", 0),
        ("concurrency", 1.0),
        ("paused", 1),
        ("paused", "false"),
    ],
)
def test_a_wrong_policy_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        structure({field: value}, QueuePolicy)
    assert [error.field for error in caught.value.errors] == [field]
