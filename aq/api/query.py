"""Query parameters and flat objects, checked against rules: every wrong and unknown name in one answer."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

from quart import request

from aq.errors import FieldError, ValidationError
from aq.rules import Integer, Number, Rule


def checked(
    values: Mapping[str, Any], rules: Mapping[str, Rule], required: Container[str] = ()
) -> dict[str, Any]:
    """The values as their rules type them. Raises ValidationError naming each wrong, missing, unknown one."""
    wrong = [FieldError(name, "is not known here") for name in values if name not in rules]
    good: dict[str, Any] = {}
    for name, rule in rules.items():
        if name not in values:
            if name in required:
                wrong.append(FieldError(name, "is required"))
            continue
        try:
            good[name] = rule.accept(values[name])
        except ValueError as error:
            wrong.append(FieldError(name, str(error)))
    if wrong:
        raise ValidationError(wrong)
    return good


def parameters(rules: Mapping[str, Rule]) -> dict[str, Any]:
    """The request's query parameters. Raises ValidationError, for an unknown or repeated name too."""
    repeated = [
        FieldError(name, "is given more than once") for name, given in request.args.lists() if len(given) > 1
    ]
    values = {name: _typed(given[0], rules.get(name)) for name, given in request.args.lists()}
    try:
        good = checked(values, rules)
    except ValidationError as error:
        raise ValidationError([*repeated, *error.errors]) from None
    if repeated:
        raise ValidationError(repeated)
    return good


def no_parameters() -> None:
    """For routes that take none. Raises ValidationError naming what was given."""
    parameters({})


def _typed(text: str, rule: Rule | None) -> object:
    """A query parameter is text; what reads as the number its rule wants becomes that number."""
    if isinstance(rule, Integer) and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if isinstance(rule, Number) and re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", text):
        return float(text)
    return text
