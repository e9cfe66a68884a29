"""How a command ends: its exit code, and what is said about an error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

import click


class Code(IntEnum):
    """The exit codes of ``aq``. Promised: scripts rely on them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    UNSUCCESSFUL = 5
    """The command did its work, and the task failed or did not end in time."""
    INTERRUPTED = 130


class Failure(click.ClickException):
    """An error told in a line. ``hint`` says what to do next, ``details`` go into the JSON of ``--json``."""

    def __init__(
        self,
        message: str,
        code: Code = Code.FAILED,
        *,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # typeshed has none; Click's own classes assign it too
        self.hint = hint
        self.details = details or {}

    def format_message(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


def run(command: Callable[[], object], *, as_json: bool) -> int:
    """Run a command to its end and return its exit code, having told its error, if any, on stderr.

    With ``as_json`` that is one JSON object: ``error``, ``exit_code``, a ``hint`` where there is one, and
    what the service said.
    """
    try:
        code = command()
    except click.exceptions.Abort:
        return Code.INTERRUPTED
    except click.ClickException as error:
        if as_json:
            click.echo(json.dumps(_document(error)), err=True)
        else:
            error.show()
        return error.exit_code
    return code if isinstance(code, int) else Code.DONE


def _document(error: click.ClickException) -> dict[str, Any]:
    if not isinstance(error, Failure):
        return {"error": error.format_message(), "exit_code": error.exit_code}
    hint = {} if error.hint is None else {"hint": error.hint}
    return {"error": error.message, "exit_code": int(error.exit_code), **hint, **error.details}


def say_no_more() -> None:
    """Nobody reads stdout any more: what is still to be written goes nowhere, also when the process ends."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
