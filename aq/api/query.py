"""Query parameters and flat objects, checked against rules: every wrong and unknown name in one answer."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

from quart import request

from aq.api.body import read_optional_object
from aq.errors import FieldError, Gathering, ValidationError, within
from aq.rules import REQUIRED, UNKNOWN, Integer, Number, Rule


def checked(
    values: Mapping[str, Any], rules: Mapping[str, Rule], required: Container[str] = ()
) -> dict[str, Any]:
    """The values as their rules type them. Raises ValidationError naming each wrong, missing, unknown one."""
    wrong = [FieldError(name, UNKNOWN) for name in values if name not in rules]
    good: dict[str, Any] = {}
    for name, rule in rules.items():
        if name not in values:
            if name in required:
                wrong.append(FieldError(name, REQUIRED))
            continue
        try:
            good[name] = rule.accept(values[name])
        except (ValueError, ValidationError) as error:
            wrong += within(name, error)
    if wrong:
        raise ValidationError(wrong)
    return good


def parameters(rules: Mapping[str, Rule]) -> dict[str, Any]:
    """The request's query parameters. Raises ValidationError, for an unknown or repeated name too."""
    if not request.query_string:
        return {}
    wrong = Gathering()
    wrong.errors += [
        FieldError(name, "is given more than once") for name, given in request.args.lists() if len(given) > 1
    ]
    values = {name: _typed(given[0], rules.get(name)) for name, given in request.args.lists()}
    with wrong:
        good = checked(values, rules)
    wrong.check()
    return good


def no_parameters() -> None:
    """For routes that take none. Raises ValidationError naming what was given."""
    parameters({})


async def expect_nothing() -> None:
    """For routes that take neither parameters nor fields: no body, or an empty object.

    Raises as `read_optional_object`, and ValidationError naming what was given.
    """
    wrong = Gathering()
    with wrong:
        no_parameters()
    with wrong:
        checked(await read_optional_object(), {})
    wrong.check()


def _typed(text: str, rule: Rule | None) -> object:
    """A query parameter is text; what reads as the number its rule wants becomes that number."""
    if isinstance(rule, Integer) and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if isinstance(rule, Number) and re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", text):
        return float(text)
    return text
