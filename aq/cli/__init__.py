"""The command ``aq``. What a command needs is imported when it runs: ``aq --help`` answers at once."""

from __future__ import annotations

import click

from aq.cli.doctor import doctor
from aq.cli.serve import serve
from aq.version import __version__

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aq", message="%(prog)s %(version)s")
def main() -> None:
    """AsyncQueue: POST a task, get a webhook.

    \b
    Try it:
      aq serve --dev

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """


main.add_command(serve)
main.add_command(doctor)
