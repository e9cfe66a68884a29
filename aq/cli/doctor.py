"""``aq doctor``: is what is kept in a store true?"""

from __future__ import annotations

import os
import sys

import click

from aq.cli.ends import Failure
from aq.cli.output import json_option, print_json, storage_option, tell_progress


@click.command()
@storage_option
@json_option
def doctor(storage: str, as_json: bool) -> None:
    """Compare a store's counters and marks with its tasks.

    \b
    Stop the server first, then:
      aq doctor --storage sqlite:////var/lib/aq.db

    It looks at every task, which takes a while on a large store. Exit code 0: all is true. 1: something
    differs, and is told line by line.
    """
    import trio

    from aq.errors import AsyncQueueError
    from aq.storage import path_of

    path = path_of(storage)
    if path is not None and not os.path.exists(path):
        raise Failure(f"there is no store at {path}", hint="--storage names another one.")
    tell_progress(f"checking {storage} …", as_json)
    try:
        problems = trio.run(_examine, storage)
    except AsyncQueueError as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json({"problems": problems})
    else:
        click.echo("\n".join(problems) or "all is true: counters and marks agree with every task")
    sys.exit(1 if problems else 0)


async def _examine(url: str) -> list[str]:
    from aq.storage import open_storage

    async with open_storage(url) as storage:
        damage = [f"the file is damaged: {storage.damage}"] if storage.damage else []
        return [*damage, *await storage.audit()]
