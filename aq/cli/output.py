"""Results on stdout: JSON for programs, tables for people; everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from aq.cli.ends import Failure
from aq.texts import one_line

F = TypeVar("F", bound=Callable[..., Any])
_SPACES: Final = "  "
_ANY_WIDTH: Final = 10_000

json_option: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, help="Print results as JSON, and errors as JSON on stderr."
)
storage_option: Callable[[F], F] = click.option(
    "--storage",
    envvar="AQ_STORAGE",
    default="sqlite:///aq.db",
    show_default=True,
    metavar="URL",
    help="The store: sqlite:///PATH.",
)
yes_option: Callable[[F], F] = click.option("--yes", is_flag=True, help="Do it without being asked.")


def say(text: str) -> None:
    """Progress and other words beside the result: on stderr."""
    click.echo(text, err=True)


def tell_progress(text: str, as_json: bool) -> None:
    """How far it is: on stderr, which with ``--json`` and without a terminal is for one error only."""
    if not as_json or sys.stderr.isatty():
        say(text)


def print_json(value: Any) -> None:
    """One document on stdout, for a program or a person."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Rows under titles: drawn on a terminal, else plain columns. ``empty`` is said, on stderr, of none."""
    if not rows:
        say(empty)
        return
    texts = [[one_line(str("" if cell is None else cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(titles, texts)
    else:
        click.echo("\n".join(aligned([[title.upper() for title in titles], *texts])))


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """One thing, a line for each of its fields; what it does not have is left out."""
    rows = [[name, one_line(str(value))] for name, value in fields if value is not None and value != ""]
    click.echo("\n".join(aligned(rows)))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose columns begin below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _SPACES.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _draw(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*titles, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(Text, row))  # as texts: brackets in them are no markup
    Console(width=_ANY_WIDTH, height=1).print(
        table
    )  # too long a line goes on in the next: no id or URL is cut


def print_results(results: Any) -> None:
    """What the service answered, one or a list, as JSON; payloads byte for byte."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(results), indent=2)
    click.echo(text.decode())


def confirm(question: str, yes: bool) -> None:
    """Ask before something is destroyed. Raises UsageError where nobody can be asked, Failure at a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Add --yes to do it: there is no terminal to ask at.")
    if not click.confirm(question, err=True):
        raise Failure("nothing was done")
