"""A queue's policy as a form: what was typed becomes the API's values, judged by the API's rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from aq.api.query import checked
from aq.api.queues import POLICY
from aq.errors import ValidationError
from aq.instants import SECOND
from aq.policy import QueuePolicy
from aq.rules import Integer, Number, Optional, Rule, unstructure

RETRIES: Final = ("max_retries", "retry_backoff", "retry_delay", "retry_delay_max", "retry_jitter")
_RATE: Final = ("rate_limit.per_second", "rate_limit.burst")
_NOT_IN_THE_FORM: Final = ("paused", "rate_limit", "signing_secrets")
FIELDS: Final = (*(name for name in POLICY if name not in _NOT_IN_THE_FORM), *_RATE)
"""The names of the inputs, beside those of the signing secrets."""


@frozen
class Retry:
    """One retry to come: the wait, and when after the first failure, at least and at most; in seconds."""

    number: int
    wait: float
    least: float
    most: float


def shown(policy: QueuePolicy) -> dict[str, Any]:
    """What the inputs have in them to begin with; "" is "none"."""
    values = unstructure(policy)
    rate = values["rate_limit"] or {}
    values |= {name: rate.get(name.partition(".")[2]) for name in _RATE}
    return {name: "" if values[name] is None else values[name] for name in FIELDS}


def typed(form: Mapping[str, str]) -> dict[str, Any]:
    """The change that a form asks for. Raises ValidationError naming every wrong input.

    An empty input is null where that may be; secrets stay as they are when none are given.
    """
    values = {name: _value(form[name], POLICY[name]) for name in POLICY if name in form}
    rate = {name.partition(".")[2]: _number(form.get(name, "")) for name in _RATE}
    values["rate_limit"] = rate if any(value is not None for value in rate.values()) else None
    if form.get("secrets_of_the_service"):
        values["signing_secrets"] = None
    elif secrets := form.get("signing_secrets", "").split():
        values["signing_secrets"] = secrets
    return checked(values, POLICY)


def calendar(policy: QueuePolicy) -> tuple[Retry, ...]:
    """All of the policy's retries, should every attempt fail at once."""
    return tuple(_calendar(policy))


def possible_calendar(form: Mapping[str, str]) -> tuple[Retry, ...] | None:
    """The same of what is typed in the inputs about retries; None when that is not right."""
    values = {name: _value(form.get(name, ""), POLICY[name]) for name in RETRIES}
    try:
        return calendar(QueuePolicy(**checked(values, POLICY)))
    except ValidationError:
        return None


def errors_of(error: ValidationError) -> dict[str, str]:
    """Input → what is wrong with it. What is wrong with the whole rate is told at its first input."""
    told = {wrong.field: wrong.message for wrong in error.errors}
    if "rate_limit" in told:
        told.setdefault(_RATE[0], told["rate_limit"])
    return told


def _calendar(policy: QueuePolicy) -> Iterator[Retry]:
    least = most = 0.0
    for number in range(1, policy.max_retries + 1):
        wait = policy.retry_wait_us(number, 0) / SECOND
        least += wait
        most += policy.retry_wait_us(number, 1) / SECOND
        yield Retry(number, wait, least, most)


def _value(text: str, rule: Rule) -> Any:
    if isinstance(rule, Optional):
        return _value(text, rule.rule) if text.strip() else None
    return _number(text, text) if isinstance(rule, Integer | Number) else text


def _number(text: str, otherwise: str | None = None) -> Any:
    """What reads as a number is one; an empty text is ``otherwise``, any other is left to the rules."""
    text = text.strip()
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"-?[0-9]{0,18}\.[0-9]{1,18}", text):
        return float(text)
    return text or otherwise
