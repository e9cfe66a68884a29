"""What requests may hold: made of the rules that validate it. `words` has the descriptions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aq.api.creation import MOST_IN_A_BATCH
from aq.api.openapi import words
from aq.api.openapi.shapes import Schema, described, ref
from aq.api.queues import PURGE
from aq.apikey import NewKey
from aq.policy import QueuePolicy, RateLimit
from aq.queues import Retry
from aq.rules import QUEUE_NAME, Rule, nullable, object_schema
from aq.schedule import NOT_OF_A_SLOT, NewSchedule
from aq.task import NewTask


def accepted() -> Mapping[str, Schema]:
    """The bodies of requests, by name. What fields say only together is added here, by hand."""
    task = described(object_schema(NewTask), "A task as asked for.", words.NEW_TASK)
    policy = _with(object_schema(QueuePolicy), rate_limit=nullable(ref("RateLimit")))
    key = described(object_schema(NewKey), "An API key as asked for.", words.NEW_KEY)
    schedule = _with(object_schema(NewSchedule), task=ref("ScheduledTask"))
    return {
        "NewTask": {**task, "not": _both("delay", run_at="string")},
        "NewTasks": _batch(),
        "RateLimit": described(object_schema(RateLimit), "A pace of starts.", words.RATE_LIMIT),
        "NewQueue": described(_named(policy), "A queue as asked for.", {**words.NEW_QUEUE, **words.POLICY}),
        "QueueChange": described(
            _all_optional(policy), "The fields of a queue's policy that are to change.", words.POLICY
        ),
        "Purge": described(_object(**_schemas(PURGE)), "How.", words.PURGE),
        "RetryFailed": described(
            object_schema(Retry), "Which failed tasks; without a field: all of them.", words.RETRY
        ),
        "ScheduledTask": _without(task, NOT_OF_A_SLOT),
        "NewSchedule": {
            **described(schedule, "A schedule as asked for: of `cron` or `every`.", words.SCHEDULE),
            "oneOf": [
                _one("cron", "string", every={"type": "null"}),
                _one("every", "integer", cron={"type": "null"}, timezone={"const": "UTC"}),
            ],
        },
        "ScheduleChange": {
            **described(
                _all_optional(schedule), "The fields of a schedule that are to change.", words.SCHEDULE
            ),
            "not": {"anyOf": [_both(cron="string", every="integer"), _both(cron="null", every="null")]},
        },
        "NewApiKey": key,
    }


def _batch() -> Schema:
    """A key for one task of many would promise what only the header can keep."""
    without_key = {"properties": {"idempotency_key": {"type": "null"}}}
    tasks = {
        "type": "array",
        "items": {"allOf": [ref("NewTask"), without_key]},
        "minItems": 1,
        "maxItems": MOST_IN_A_BATCH,
    }
    shape = {**_object(tasks=tasks), "required": ["tasks"]}
    return described(shape, "Tasks that are accepted together or not at all.", words.NEW_TASKS)


def _schemas(rules: Mapping[str, Rule]) -> dict[str, Schema]:
    return {name: rule.schema() for name, rule in rules.items()}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _with(shape: Schema, **properties: Schema) -> Schema:
    """With other schemas for some properties; a default stays."""
    kept = shape["properties"]
    new = {
        name: {**schema, **({"default": kept[name]["default"]} if "default" in kept[name] else {})}
        for name, schema in properties.items()
    }
    return {**shape, "properties": {**kept, **new}}


def _named(policy: Schema) -> Schema:
    properties = {"name": QUEUE_NAME.schema(), **policy["properties"]}
    return {**policy, "properties": properties, "required": ["name"]}


def _without(shape: Schema, names: Collection[str]) -> Schema:
    return {
        **shape,
        "properties": {name: it for name, it in shape["properties"].items() if name not in names},
    }


def _all_optional(shape: Schema) -> Schema:
    """For a PATCH: what is left out stays as it is, so nothing is required and nothing has a default."""
    properties = {
        name: {word: value for word, value in schema.items() if word != "default"}
        for name, schema in shape["properties"].items()
    }
    rest = {word: value for word, value in shape.items() if word != "required"}
    return {**rest, "properties": properties}


def _both(*present: str, **typed: str) -> Schema:
    """Objects in which these are given, the latter as values of a type."""
    return {"required": [*present, *typed], "properties": {name: {"type": it} for name, it in typed.items()}}


def _one(name: str, kind: str, **also: Any) -> Schema:
    return {"required": [name], "properties": {name: {"type": kind}, **also}}
