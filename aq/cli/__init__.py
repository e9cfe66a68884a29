"""The command ``aq``. What a command needs is imported when it runs: ``aq --help`` answers at once.

commands    the group: its sections, and how a command is found
ends        exit codes, and how errors are told
output      results: tables for people, JSON for programs

and a file for each command, or family of them.
"""

from __future__ import annotations

from typing import Final

import click

from aq.cli.commands import Commands, Section
from aq.version import __version__

__all__ = ["main"]

SECTIONS: Final[tuple[Section, ...]] = (
    ("The service", {"serve": "serve", "demo": "demo", "top": "top", "doctor": "doctor", "backup": "backup"}),
    (
        "Tasks",
        {"send": "send", "tasks": "tasks", "queues": "queues", "schedules": "schedules", "keys": "keys"},
    ),
    ("Tuning", {"bench": "bench"}),
    (
        "Webhooks",
        {"receive": "receive", "verify": "signatures", "sign": "signatures", "secret": "signatures"},
    ),
    ("This command", {"completion": "completion"}),
)
"""What ``aq --help`` shows: a title, and each command with the module of this package that has it."""


@click.group(cls=Commands, sections=SECTIONS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aq", message="%(prog)s %(version)s")
def main() -> None:
    """AsyncQueue: POST a task, get a webhook.

    \b
    See it, in 20 seconds:
      aq demo
    Try it:
      aq serve --dev
    Then, in another terminal, in the same folder:
      aq send http://127.0.0.1:8080/dev/receiver -d '{"n": 1}' --wait

    Results go to stdout (as JSON with --json), everything else to stderr.

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 the service cannot be reached,
    5 the task failed or the wait ran out, 130 interrupted.
    """
