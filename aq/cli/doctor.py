"""``aq doctor``: is what is kept in a store true?"""

from __future__ import annotations

import json
import os
import sys

import click


@click.command()
@click.option(
    "--storage",
    envvar="AQ_STORAGE",
    default="sqlite:///aq.db",
    show_default=True,
    help="Where tasks are kept: sqlite:///PATH.",
)
@click.option("--json", "as_json", is_flag=True, help='Print {"problems": […]} instead of lines.')
def doctor(storage: str, as_json: bool) -> None:
    """Compare everything that is counted or marked in a store with the tasks themselves.

    \b
    Stop the server first, then:
      aq doctor --storage sqlite:////var/lib/aq.db

    It looks at every task, which takes a while on a large store. Exit code 0: all is true. 1: something
    differs, and is told line by line.
    """
    import trio

    from aq.errors import AsyncQueueError

    path = storage.removeprefix("sqlite:///")
    if path != storage and not os.path.exists(path):
        raise click.ClickException(f"there is no store at {path}")
    click.echo(f"checking {storage} …", err=True)
    try:
        problems = trio.run(_examine, storage)
    except AsyncQueueError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps({"problems": problems}))
    else:
        click.echo("\n".join(problems) or "all is true: counters and marks agree with every task")
    sys.exit(1 if problems else 0)


async def _examine(url: str) -> list[str]:
    from aq.storage import open_storage

    async with open_storage(url) as storage:
        damage = [f"the file is damaged: {storage.damage}"] if storage.damage else []
        return [*damage, *await storage.audit()]
