"""``aq`` called as a person does: within this process, or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from attrs import frozen
from click.testing import CliRunner

from aq.cli import main

AQ = (sys.executable, "-m", "aq")
SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
"""Of a context; the help option of a command is made with the first one and kept."""


@frozen
class Ended:
    """How a command ended, and what it said on each stream."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The one JSON object that ``--json`` makes of an error."""
        return json.loads(self.err)


def aq(*args: str, given: str | bytes | None = None, **env: str) -> Ended:
    """The command within this process; neither side of it is a terminal."""
    result = CliRunner().invoke(main, args, input=given, env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def process(*args: str, folder: Path, given: bytes = b"", **env: str) -> Ended:
    """The command as a process of its own, in a folder."""
    done = subprocess.run(
        [*AQ, *args],
        cwd=folder,
        env={**clean_environment(), **env},
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AQ_")}


def every_command(
    command: click.Command = main, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Each command and group with the words that call it; the first is ``aq`` itself, with none."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name="aq", **SETTINGS)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from every_command(found, (*words, name))
