"""The search for tasks: ``queue:mail status:failed host:example.com`` as the parameters of a list. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

from aq.ids import ALPHABET, LENGTH

QUALIFIERS: Final[Mapping[str, str]] = {
    "queue": "queue",
    "status": "status",
    "tag": "tag",
    "error": "error_type",
    "host": "destination",
    "after": "created_after",
    "before": "created_before",
}
"""What people write, and what the list calls it. ``id:`` leads to a task."""
_WORD: Final = re.compile(r'(?:([a-z]+):)?("[^"]*"|\S+)')
_ID: Final = re.compile(f"task_[{ALPHABET}]{{{LENGTH}}}")


@frozen
class Search:
    """Where a search leads: to a task, or to the list with these parameters; else ``wrong`` says why."""

    task_id: str | None = None
    parameters: Mapping[str, str] = {}
    wrong: str | None = None


def read_search(text: str) -> Search:
    """What is meant by a text that a person wrote. Of one qualifier the last word holds."""
    found: dict[str, str] = {}
    for match in _WORD.finditer(text.strip()):
        name, value = match[1], match[2].strip('"')
        if name == "id" or (name is None and value.startswith("task_")):
            return _task(value)
        if name is None:
            return Search(wrong=_free(value))
        if name not in QUALIFIERS:
            return Search(wrong=f"There is no {name}: to search by. There are {_names()} and id:.")
        found[QUALIFIERS[name]] = _destination(value) if name == "host" else value
    return Search(parameters=found)


def as_text(parameters: Mapping[str, str]) -> str:
    """The search that leads to these parameters."""
    return " ".join(_words(parameters))


def _words(parameters: Mapping[str, str]) -> Iterator[str]:
    for name, parameter in QUALIFIERS.items():
        if value := parameters.get(parameter):
            value = value.removeprefix("https://") if name == "host" else value
            yield f'{name}:"{value}"' if " " in value else f"{name}:{value}"


def _task(value: str) -> Search:
    task_id = value.upper().replace("TASK_", "task_", 1)
    if _ID.fullmatch(task_id):
        return Search(task_id=task_id)
    return Search(wrong=f"{value} is no id of a task: it is task_ and {LENGTH} characters.")


def _free(value: str) -> str:
    return f"What is {value}? Say what to look for: {_names()} or id:, as in queue:{value} or tag:{value}."


def _names() -> str:
    return ", ".join(f"{name}:" for name in QUALIFIERS)


def _destination(value: str) -> str:
    """A host alone is meant by https, which is what webhooks mostly go to."""
    return value if "://" in value else f"https://{value}"
