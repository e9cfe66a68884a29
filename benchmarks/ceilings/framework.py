"""The web framework with nothing behind it, on the same Hypercorn: what the intake lane saves.

python -m benchmarks.ceilings.framework quart|asgi     prints its port, then serves until it is ended

quart     an empty POST route of Quart-Trio
asgi      an application that reads the body and answers, without any framework
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve
from quart import request
from quart_trio import QuartTrio

from benchmarks.ceilings.bare import Handler


async def serve(app: Any) -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.loglevel = "ERROR"
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(partial(hypercorn_serve, app, config))
        print(binds[0].rpartition(":")[2], flush=True)


def quart(handle: Handler) -> QuartTrio:
    """An application whose one route answers what ``handle`` says."""
    app = QuartTrio(__name__)

    @app.post("/v1/tasks")
    async def create() -> tuple[bytes, int]:
        body: bytes = await request.get_data()  # type: ignore[assignment]  # text only where asked for
        return await handle(body), 201

    return app


def empty() -> QuartTrio:
    """Without reading the body."""
    app = QuartTrio(__name__)

    @app.post("/v1/tasks")
    async def create() -> tuple[str, int]:
        return "{}", 201

    return app


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": f"{event['type']}.complete"})
            if event["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    trio.run(serve, empty() if sys.argv[1] == "quart" else asgi)
