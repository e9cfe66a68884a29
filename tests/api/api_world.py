"""An engine in memory with a runner that tests steer, and the HTTP API in front of it, without sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import trio
import trio.testing
from attrs import define, field, frozen
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers

from aq.api.app import create_app
from aq.api.front import Front, open_front
from aq.api.lane import Lane
from aq.api.limits import RateLimits
from aq.delivery.protocol import Delivery, Runner
from aq.engine import Engine
from aq.opening import open_engine
from aq.outcome import Outcome
from aq.storage.protocol import Storage
from aq.telemetry.traffic import Traffic
from benchmarks.fuzz.exchange import Answers
from tests.api.contract import contract_of
from tests.api.streams import ServerSide

KEY = "aq_live_" + "k" * 43
SECRET = "whsec_" + "c2VjcmV0" * 6
URL = "http://127.0.0.1:9/x"
LANE: ContextVar[bool | None] = ContextVar("LANE", default=None)
"""Whether requests meet the lane; where no test says so by the fixture ``both_doors``, those to a port do."""
HOT = ("/v1/tasks", "/v1/tasks/batch")


@define
class SteeredRunner:
    """Ends each attempt with the next of ``outcomes``, then with success; while ``go`` is unset, it waits."""

    outcomes: list[Outcome] = field(factory=list)
    deliveries: list[Delivery] = field(factory=list)
    go: trio.Event = field(factory=trio.Event)
    begun: trio.Event = field(factory=trio.Event)

    async def __call__(self, delivery: Delivery) -> Outcome:
        self.deliveries.append(delivery)
        self.begun.set()
        await self.go.wait()
        return self.outcomes.pop(0) if self.outcomes else Outcome.success()


@frozen
class Reply:
    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def fields(self) -> set[str]:
        """The fields that a 422 names."""
        assert self.status == 422, self.body
        return {wrong["field"] for wrong in self.json["errors"]}


@frozen
class Api:
    app: QuartTrio
    engine: Engine
    runner: SteeredRunner
    lane: Lane | None = None
    """The lane that belongs in front of the app."""
    front: Front | None = None
    """Where it is there, POSTs that the lane may answer go through it."""

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = KEY,
    ) -> Reply:
        """One request; ``body`` is sent as JSON, ``raw`` as it is; a header that is None is left out.

        The reply is held to the OpenAPI document.
        """
        sent = {} if key is None else {"Authorization": f"Bearer {key}"}
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        if self.front is not None and method == "POST" and path in HOT:
            reply = await _over_a_stream(self.front, path, sent, raw or b"")
        else:
            client = self.app.test_client(use_cookies=False)
            response = await client.open(path, method=method, headers=sent, data=raw)  # type: ignore[call-arg]  # its stub wants json too
            data = await response.get_data(as_text=False)
            reply = Reply(response.status_code, response.headers, data)
        contract_of(self.app).check(self.app, method, path, reply)
        return reply

    async def post(self, path: str, body: object = None, **kwargs: Any) -> Reply:
        return await self.call("POST", path, body, **kwargs)

    async def get(self, path: str, **kwargs: Any) -> Reply:
        return await self.call("GET", path, **kwargs)

    async def task(self, **fields: Any) -> dict[str, Any]:
        """A task made over HTTP: far in the future unless told otherwise."""
        reply = await self.post("/v1/tasks", {"queue": "q", "webhook_url": URL, "delay": 3600, **fields})
        assert reply.status == 201, reply.body
        return dict(reply.json)


@asynccontextmanager
async def open_api(
    runner: Runner | None = None,
    *,
    dev: bool = False,
    storage: str | Storage = "memory:",
    operator: bool = True,
    **options: Any,
) -> AsyncIterator[Api]:
    """``runner`` replaces the steered one; ``operator`` makes KEY valid; ``options`` are `open_engine`'s."""
    steered = SteeredRunner()
    async with open_engine(
        storage, runner=runner or steered, signing_secrets=SECRET, grace=0, **options
    ) as engine:
        if operator:
            engine.keys.add_operator_key(KEY)
        limits = RateLimits(engine.clock)
        traffic = Traffic()
        app = create_app(engine, limits=limits, traffic=traffic, dev=dev, wall=lambda: 1_800_000_000)
        lane = Lane(engine, limits, traffic)
        async with trio.open_nursery() as nursery:
            front = await nursery.start(_keep_open, app, lane) if LANE.get() else None
            yield Api(app, engine, steered, lane, front)
            nursery.cancel_scope.cancel()


async def _keep_open(app: QuartTrio, lane: Lane, task_status: trio.TaskStatus[Front]) -> None:
    """Until it is cancelled: so its end takes no time, which some tests move by hand."""
    async with open_front(app, [], lane=lane) as front:
        task_status.started(front)
        await trio.sleep_forever()


async def _over_a_stream(front: Front, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
    """On a connection of its own."""
    ours, theirs = trio.testing.memory_stream_pair()
    lines = {"Host": "a", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    answers = Answers(None)
    async with trio.open_nursery() as nursery, ours:
        nursery.start_soon(front.serve, ServerSide(theirs))
        await ours.send_all(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        while not answers.whole:
            answers.receive(bytes(await ours.receive_some()))
    (answer,) = answers.whole
    of_the_server = ("date", "connection")  # no route describes them
    told = [(name, value) for name, value in answer.headers.items() if name not in of_the_server]
    return Reply(answer.status, Headers(told), answer.body)


def check_problem(reply: Reply, status: int) -> dict[str, Any]:
    """The reply is a problem document of that status, in the one form."""
    assert reply.status == status, reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.headers["X-Request-Id"]
    document = reply.json
    assert document["status"] == status
    for member in ("type", "title", "detail", "error"):
        assert document[member]
        assert isinstance(document[member], str)
    assert document["type"].startswith("urn:problem-type:asyncqueue:")
    assert "\n" not in document["error"]
    assert "Traceback" not in reply.body.decode()
    return dict(document)
