"""An empty Quart-Trio POST route on the same Hypercorn, in a process of its own: what the intake lane saves.

python -m benchmarks.floor       prints its port, then serves until it is terminated
"""

from __future__ import annotations

from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio

app = QuartTrio(__name__)


@app.post("/v1/tasks")
async def empty() -> tuple[str, int]:
    return "{}", 201


async def main() -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.loglevel = "ERROR"
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(partial(serve, app, config))
        print(binds[0].rpartition(":")[2], flush=True)


if __name__ == "__main__":
    trio.run(main)
