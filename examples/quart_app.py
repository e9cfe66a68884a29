"""A Quart-Trio app with the HTTP API of an engine beside its own routes, on one port.

python examples/quart_app.py
curl -X POST http://127.0.0.1:8000/signup -d email=ada@example.com
curl http://127.0.0.1:8000/v1/tasks -H "X-API-Key: $KEY"     # the key that it prints
"""

from __future__ import annotations

import sys
from typing import Any

import trio
from quart import request
from quart_trio import QuartTrio

from aq import NewTask, SignatureError, open_engine, verify_webhook
from aq.api.app import create_app
from aq.api.front import open_front, open_listeners
from aq.engine import Engine


def own_app(engine: Engine, url: str) -> QuartTrio:
    """An app as you would have it anyway; its routes use the engine without HTTP."""
    app = QuartTrio("shop")
    secrets = [str(secret) for secret in engine.signing_secrets]

    @app.post("/signup")
    async def signup() -> tuple[dict[str, str], int]:
        email = (await request.form)["email"]
        # Submitted is on disk: the mail will go out, whatever happens to this process.
        task = await engine.submit(NewTask("welcome", f"{url}/hooks/welcome", {"to": email}))
        return {"task": task.id}, 202

    @app.post("/hooks/welcome")
    async def welcome() -> tuple[str, int]:
        webhook = verify_webhook(request.headers, await request.get_data(), secrets)
        print("welcome,", webhook.payload["to"], flush=True)
        return "", 204

    @app.errorhandler(SignatureError)
    async def refused(error: SignatureError) -> tuple[dict[str, str], int]:
        return {"error": str(error)}, 401

    return app


def beside(api: QuartTrio, own: QuartTrio) -> Any:
    """One ASGI app of two: /v1 and the health checks are the API's, everything else is one's own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # A `lifespan` scope has no path: beginning and end are told to one's own app.
        its = scope.get("path", "").startswith(("/v1/", "/healthz", "/readyz", "/openapi.json"))
        await (api if its else own)(scope, receive, send)

    return app


async def main(port: int) -> None:
    listeners = await open_listeners("127.0.0.1", port)
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    # Webhooks may go to public addresses only, unless a network is opened: here this machine's own.
    async with open_engine(storage="memory:", allow=["127.0.0.0/8"]) as engine:
        print("API key:", await engine.keys.first_key())
        app = beside(create_app(engine), own_app(engine, url))
        async with open_front(app, listeners):  # what `aq serve` puts before its app: limits, slow clients, …
            print(f"ready on {url}", flush=True)
            await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
