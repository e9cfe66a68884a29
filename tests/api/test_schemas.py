"""The schemas of what is accepted against the rules that accept it: both ways, as far as they can say it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aq.api import creation, queues, tasks
from aq.api.body import JsonObject
from aq.api.openapi.accepted import accepted
from aq.api.query import checked
from aq.apikey import NewKey
from aq.errors import ValidationError
from aq.policy import QueuePolicy
from aq.queues import Retry, changed
from aq.rules import Rule, Text, structure
from aq.schedule import Schedule, changed_fields, new_schedule
from aq.task import Environment, read_task
from tests.api.near import near

SCHEMAS = accepted()
SCHEDULE = Schedule(
    id="sch_1",
    environment=Environment.LIVE,
    task='{"queue":"q","webhook_url":"http://h/"}',
    cron="* * * * *",
    created_at=0,
    from_at=0,
)
UNSAYABLE = (
    "must be an integer",  # JSON Schema's 5.0 is an integer
    "must have a port",
    "must have a valid IPv6",
    "cron expression",
    "a date that never comes",
    "must be an IANA time zone",
    "none of them twice",  # headers, whatever their case
    "must not set",
    "bytes in all",
)
"""What the rules refuse and a schema cannot, or only in a way that no person could read."""
OF_THE_SCHEDULE = ("timezone goes with cron only", "cron is required")
"""Whether a change may be made depends on what it changes."""


def change_of_queue(fields: dict[str, Any]) -> object:
    return changed(QueuePolicy(), checked(fields, queues.POLICY))


def task(fields: dict[str, Any]) -> None:
    _, wrong = read_task(fields)
    if wrong:
        raise ValidationError(wrong)


def batch(fields: dict[str, Any]) -> None:
    """As the route and the engine have it."""
    news, wrong = creation._batch(JsonObject(fields, json.dumps(fields).encode()))
    if wrong:
        raise ValidationError(wrong)
    if any(new.idempotency_key for new in news):
        raise ValueError("idempotency_key must not be given here")


ACCEPT: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "NewTask": task,
    "NewTasks": batch,
    "NewQueue": lambda fields: checked(fields, queues.NEW, required=("name",)),
    "QueueChange": change_of_queue,
    "Purge": lambda fields: checked(fields, queues.PURGE),
    "RetryFailed": lambda fields: structure(fields, Retry),
    "NewSchedule": new_schedule,
    "ScheduleChange": lambda fields: new_schedule(changed_fields(SCHEDULE, fields)),
    "NewApiKey": lambda fields: structure(fields, NewKey),
}

VALIDATORS = {
    name: jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}, validate_formats=True
    )
    for name in ACCEPT
}
BODIES = {name: near(SCHEMAS[name], SCHEMAS).filter(lambda value: isinstance(value, dict)) for name in ACCEPT}


def refusal(accept: Callable[[Any], object], value: object) -> str | None:
    try:
        accept(value)
    except (ValueError, ValidationError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", ACCEPT)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(data=st.data())
def test_what_is_accepted_is_valid_and_the_other_way_round(name: str, data: st.DataObject) -> None:
    validator = VALIDATORS[name]
    value = data.draw(BODIES[name])
    valid, refused = validator.is_valid(value), refusal(ACCEPT[name], value)
    if refused is None:
        assert valid, [error.message for error in validator.iter_errors(value)]
    else:
        unsayable = (*UNSAYABLE, *(OF_THE_SCHEDULE if name == "ScheduleChange" else ()))
        assert not valid or any(words in refused for words in unsayable), refused


QUERY: Mapping[str, Rule] = {**tasks.FILTERS, **tasks.PAGE, **tasks.WAIT}


@pytest.mark.parametrize("name", QUERY)
@settings(deadline=None, derandomize=True)
@given(data=st.data())
def test_the_rules_of_parameters_agree_with_their_schemas(name: str, data: st.DataObject) -> None:
    rule = QUERY[name]
    validator = jsonschema_rs.Draft202012Validator(rule.schema(), validate_formats=True)
    value = data.draw(near(rule.schema(), {}))
    valid, refused = validator.is_valid(value), refusal(rule.accept, value)
    unsayable = valid and any(words in str(refused) for words in UNSAYABLE)
    assert valid is (refused is None) or unsayable, refused


def test_a_pattern_matches_as_a_whole() -> None:
    assert Text("a|b", "").schema()["pattern"] == "^(?:a|b)$"
    assert Text("a*", "").schema()["pattern"] == "^a*$"
