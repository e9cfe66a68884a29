"""A door, perhaps a commit, one delivery: the least that a task can cost from its POST to its webhook.

python -m benchmarks.ceilings.relay bare|quart URL [DATABASE]   prints its port, then serves until it is ended

Each request's body is a task; it is answered (after one commit with synchronous=FULL, where there is a
database), and its payload is then posted, signed, by the service's own runner.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import trio

from benchmarks.ceilings import bare, framework
from benchmarks.ceilings.delivery import delivery, runner
from benchmarks.ceilings.executemany import INSERT, create, row


async def main(door: str, url: str, database: str | None) -> None:
    connection = None if database is None else create(Path(database))
    number = 0
    async with runner() as run, trio.open_nursery() as nursery:

        async def handle(body: bytes) -> bytes:
            nonlocal number
            number += 1
            payload = json.dumps(json.loads(body)["payload"], separators=(",", ":")).encode()
            if connection is not None:
                await trio.to_thread.run_sync(commit, connection, row(number, body))
            nursery.start_soon(run, delivery(url, payload, number))
            return b"{}"

        await (bare.serve(handle) if door == "bare" else framework.serve(framework.quart(handle)))


def commit(connection: sqlite3.Connection, values: tuple[object, ...]) -> None:
    with connection:
        connection.execute(INSERT, values)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
