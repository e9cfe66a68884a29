"""A process that opens the store named on its command line, commits one setting, says so and stays."""

from __future__ import annotations

import sys

import trio

from aq.storage import open_storage
from aq.storage.changes import PutSetting


async def main(url: str) -> None:
    async with open_storage(url) as storage:
        await storage.commit([[PutSetting("by", "the holder")]], 1)
        print("committed", flush=True)  # noqa: T201 -- what its parent waits for
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
