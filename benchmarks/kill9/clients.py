"""The load: a few clients without a pause, over every life, who write down what they were told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

import httpx
import trio
from attrs import define, field

from benchmarks.kill9.ledger import RETRY_DELAY, TIMEOUT, Death, Ledger, Life, Made, Rhythm
from benchmarks.kill9.lives import Lives
from benchmarks.kill9.receiver import KINDS

CLIENTS = 8
QUEUES = ("kill-0", "kill-1", "kill-2")
RHYTHMS = ("beat-0", "beat-1")
_PAUSE = 0.03
"""Mean seconds between an answer and the next request of a client."""
_DYING = 15
"""Seconds from the first connection that a dying server cuts until it is gone, at most."""
_REFUSED = (409, 503)
"""Answers that a request may get at any time: it came too late, or the server is ending."""


async def prepare(lives: Lives, ledger: Ledger, port: int) -> None:
    """Queues with short waits, and schedules none of whose slots may be missed."""
    async with lives.client() as client:
        for queue in QUEUES:
            policy = {"retry_backoff": "fixed", "retry_delay": RETRY_DELAY, "retry_jitter": 0}
            (await client.post("/v1/queues", json={"name": queue, **policy})).raise_for_status()
        for queue in RHYTHMS:
            task = {"queue": queue, "webhook_url": f"http://127.0.0.1:{port}/ok", "timeout": 1}
            body = {"every": 1, "catch_up": "all", "task": task}
            answer = (await client.post("/v1/schedules", json=body)).raise_for_status().json()
            ledger.rhythms.append(Rhythm(answer["id"], queue, unix(answer["created_at"]), 1))


@define
class Client:
    """``acknowledged`` is called after each task that was; the random numbers repeat, the moments do not."""

    lives: Lives
    ledger: Ledger
    port: int
    random: Random
    name: str
    acknowledged: Callable[[], object]
    enough: trio.Event
    """Set when it shall begin nothing more."""
    _mine: list[Made] = field(factory=list)
    _keyed: list[tuple[str, dict[str, Any], list[str]]] = field(factory=list)
    """Requests that had an idempotency key: key, body, the ids of the first answer."""
    _number: int = 0
    _client: httpx.AsyncClient | None = None
    _life: Life | None = None
    """The one that the connections of ``_client`` were made to."""

    async def run(self) -> None:
        doing = (self.create, self.batch, self.repeat, self.delete, self.retry, self.look)
        try:
            while not self.enough.is_set():
                await self.random.choices(doing, (10, 1, 2, 3, 2, 3))[0]()
                await trio.sleep(self.random.expovariate(1 / _PAUSE))
        finally:
            with trio.CancelScope(shield=True):
                await self.aclose()

    # -- what it asks for -----------------------------------------------------------------------------------
    async def create(self) -> None:
        body = self._body()
        await self._create("/v1/tasks", body, 1, key=self.random.random() < 0.7)

    async def batch(self) -> None:
        tag, size = f"{self.name}-{self._number}", self.random.randint(2, 20)
        self.ledger.batches[tag] = size
        body = {"tasks": [{**self._body(), "tags": [tag]} for _ in range(size)]}
        await self._create("/v1/tasks/batch", body, size, key=self.random.random() < 0.7)

    async def repeat(self) -> None:
        """The same key and body: the same tasks, however many lives ago."""
        if not self._keyed:
            return
        key, body, ids = self.random.choice(self._keyed)
        path = "/v1/tasks/batch" if "tasks" in body else "/v1/tasks"
        answer = await self._ask("POST", path, json=body, headers={"Idempotency-Key": key})
        if answer is None or answer.status_code == 503:
            return
        if answer.status_code != 200 or [made["id"] for made in _tasks(answer)] != ids:
            self._fault("a repeat got another answer", f"{key}: {answer.status_code} {answer.text[:200]}")

    async def delete(self) -> None:
        made = self._any_of_mine()
        if made is None:
            return
        made.deleting = True
        answer = await self._ask("DELETE", f"/v1/tasks/{made.id}")
        if answer is not None and answer.status_code == 204:
            made.deleted_at = min(made.deleted_at, time.time())
            self.acknowledged()
        elif answer is not None and answer.status_code == 409:
            made.deleting = False  # unless an earlier one without an answer was done: then it is a 404
        elif answer is not None and answer.status_code not in (404, 503):
            self._fault("an answer that must not be", f"DELETE: {answer.status_code} {answer.text[:200]}")

    async def retry(self) -> None:
        """Of a failed task; repeated until there is an answer, so that it is known."""
        made = self._any_of_mine()
        if made is None or made.line is not None:
            return
        key, answer = self._key(), None
        while answer is None or answer.status_code == 503:
            answer = await self._ask("POST", f"/v1/tasks/{made.id}/retry", headers={"Idempotency-Key": key})
        if answer.is_success:
            made.retries += 1
            self.acknowledged()
        elif answer.status_code not in (404, 409):
            self._fault("an answer that must not be", f"retry: {answer.status_code} {answer.text[:200]}")

    async def look(self) -> None:
        made = self._any_of_mine()
        if made is None:
            return
        answer = await self._ask("GET", f"/v1/tasks/{made.id}")
        if answer is None:
            return
        if answer.status_code == 404 and not made.deleting:
            self._fault("acknowledged and lost", f"{made.id} is not there when looked at")
        elif answer.is_success and answer.json()["status"] == "completed":
            made.completed_at = min(made.completed_at, time.time())

    # -- how ------------------------------------------------------------------------------------------------
    async def _create(self, path: str, body: dict[str, Any], size: int, *, key: bool) -> None:
        """With an idempotency key it is asked until it is answered, over as many lives as that takes."""
        headers = {"Idempotency-Key": self._key()} if key else {}
        while True:
            answer = await self._ask("POST", path, json=body, headers=headers)
            if answer is not None and answer.is_success:
                break
            if answer is not None and answer.status_code not in _REFUSED:
                self._fault("an answer that must not be", f"{path}: {answer.status_code} {answer.text[:200]}")
                return
            if not key:
                self.ledger.unanswered += size
                return
        tasks, bodies = _tasks(answer), body.get("tasks", [body])
        for task, one in zip(tasks, bodies, strict=True):
            self._mine.append(self.ledger.acknowledge(one, task, unix(task["created_at"])))
        if key:
            self._keyed.append((headers["Idempotency-Key"], body, [task["id"] for task in tasks]))
        self.acknowledged()

    async def _ask(self, method: str, path: str, **kwargs: Any) -> httpx.Response | None:
        """One request; None where the server died before its answer."""
        life, began = await self.lives.answering(), time.time()
        client = await self._client_of(life)
        self.ledger.requests += 1
        try:
            return await client.request(method, path, **kwargs)
        except httpx.TransportError as error:
            with trio.move_on_after(_DYING):
                await life.gone.wait()  # how it ended is known in a moment
            if life.over == math.inf:
                what = f"{method} {path} at {began:.3f}: {error!r}"
                self._fault("cut off by a server that lives", f"{what}; {life.told_of(self.lives.written)}")
            unsent = isinstance(error, httpx.ConnectError)
            if began < life.told and life.death is Death.TERM and not unsent:
                self._fault("a request before SIGTERM was not answered", f"{method} {path}: {error!r}")
            return None

    async def _client_of(self, life: Life) -> httpx.AsyncClient:
        """With connections to no earlier server."""
        if self._client is None or life is not self._life:
            await self.aclose()
            self._life, self._client = life, self.lives.client()
        return self._client

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _any_of_mine(self) -> Made | None:
        """Rather one of the latest."""
        latest = self._mine[-50:] if self.random.random() < 0.8 else self._mine
        return self.random.choice(latest) if latest else None

    def _body(self) -> dict[str, Any]:
        random = self.random
        body: dict[str, Any] = {
            "queue": random.choice(QUEUES),
            "webhook_url": f"http://127.0.0.1:{self.port}/{random.choice(KINDS)}",
            "payload": {"number": self._number},
            "priority": random.randint(1, 10),
            "delay": random.choice((0, 0, 0, 1, 2, 4)),
            "max_retries": random.choice((0, 1, 3)),
            "timeout": int(TIMEOUT),
        }
        self._number += 1
        if random.random() < 0.2:
            body["ordering_key"] = f"key-{random.randrange(40)}"
        return body

    def _key(self) -> str:
        self._number += 1
        return f"{self.name}-{self._number}"

    def _fault(self, rule: str, line: str) -> None:
        self.ledger.faults.append((rule, line))


async def follow_events(lives: Lives) -> None:
    """An event stream over every life."""
    while True:
        life = await lives.answering()
        await follow(lives, life)
        await life.gone.wait()


async def follow(lives: Lives, life: Life) -> None:
    """If a SIGTERM met the stream open, whether it ended with its last word is written down."""
    last, opened = "", math.inf
    try:
        async with lives.client() as client, client.stream("GET", "/v1/events") as answer:
            opened = time.time() if answer.is_success else math.inf
            async for line in answer.aiter_lines():
                last = line.removeprefix("event: ") if line.startswith("event: ") else last
    except httpx.TransportError:
        last = ""
    if opened < life.told < math.inf:
        life.streams.append(last == "end")


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _tasks(answer: httpx.Response) -> list[dict[str, Any]]:
    told: dict[str, Any] = answer.json()
    tasks: list[dict[str, Any]] = told.get("tasks", [told])
    return tasks
