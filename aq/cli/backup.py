"""``aq backup``: a copy of a store, while it is in use or not."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from aq.cli.ends import Failure
from aq.cli.output import json_option, print_json, storage_option, tell_progress

if TYPE_CHECKING:
    from aq.storage.sqlite.backup import Backup

_LOOK_SECONDS: Final = 0.5


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
@storage_option
@click.option("--force", is_flag=True, help="Replace FILE where it is there.")
@json_option
def backup(file: str, storage: str, force: bool, as_json: bool) -> None:
    """Copy a store to FILE, while the server runs or not.

    The copy is of one moment, checked, and its owner's only. To restore it, stop the server and serve the
    copy, or put it in the place of the store without the files beside that.

    \b
    Every night, then look whether it is true:
      aq backup nightly.db --storage sqlite:////var/lib/aq.db --force
      aq doctor --storage sqlite:///nightly.db
    """
    from aq.errors import AsyncQueueError, ValidationError
    from aq.storage import backup_of

    tell_progress(f"copying {storage} …", as_json)
    try:
        size = _run(backup_of(storage, file, replace=force))
    except ValidationError as error:
        raise click.UsageError(f"--{error}") from None
    except AsyncQueueError as error:
        there = os.path.exists(file) and not force
        raise Failure(str(error), hint="Add --force to replace it." if there else None) from None
    if as_json:
        print_json({"file": file, "bytes": size})
    else:
        click.echo(f"{file}: {size:,} bytes, checked")


def _run(copying: Backup) -> int:
    """In a thread, so that ^C is heard, and a terminal sees how much is written."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(copying.run)
        try:
            while True:
                try:
                    return job.result(timeout=_LOOK_SECONDS)
                except TimeoutError:
                    if sys.stderr.isatty():
                        click.echo(f"\r{copying.written >> 20:,} MiB written\r", nl=False, err=True)
        finally:
            copying.stop()
