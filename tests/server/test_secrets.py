"""A whole session of ``aq serve`` with marked secrets, at the most talkative log level: where do they show?

In both formats of the log.

Everything that leaves the process is searched: both output streams, each answer with its headers, the event
stream, what ``aq doctor`` says, the arguments of the process, and the files.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from attrs import define, field

from aq.apikey import hash_key
from tests.delivery.receiver import OK, answering
from tests.delivery.receiver import serve as serve_webhooks
from tests.server.serve_world import Process, running

OPERATOR = "aq_live_" + "MARKoperator" * 4
SIGNING = "whsec_" + b64encode(b"MARKsigning" * 4).decode()
QUEUES_OWN = "whsec_" + b64encode(b"MARKqueue" * 4).decode()
HEADER = "Bearer MARKheader"
MISPLACED = "MARKmisplaced"
"""Sent where no secret belongs, by somebody who mistook the place."""
REFUSED = "aq_live_" + "MARKrefused" * 4
PRIVATE = {"payload": "MARKpayload", "query": "MARKquery", "answer": "MARKanswer", "tag": "MARKtag"}
"""Not secret to the clients of the service, and nobody else's business."""
FAILING = b"HTTP/1.1 500 Oh\r\nContent-Length: 10\r\n\r\nMARKanswer"


@define
class Session:
    """An operator's client that keeps every byte that comes back."""

    api: httpx.AsyncClient
    heard: bytes = b""
    made: list[str] = field(factory=list)
    """The texts of keys, each shown in one answer."""

    async def ask(self, method: str, path: str, status: int, **request: Any) -> Any:
        reply = await self.api.request(method, path, **request)
        assert reply.status_code == status, reply.text
        content = reply.content
        if path == "/v1/apikeys" and status == 201:
            text = reply.json()["key"]
            self.made.append(text)
            content = content.replace(text.encode(), b"")  # the one answer that has it
        self.heard += content + b"\n".join(b": ".join(pair) for pair in reply.headers.raw)
        return reply.json() if "json" in reply.headers.get("content-type", "") else None

    async def listen(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with self.api.stream("GET", "/v1/events?stats=1", timeout=60) as stream:
            task_status.started()
            async for data in stream.aiter_raw():
                self.heard += data


@define
class Evidence:
    """All that left a server in its life. ``output`` is whatever was said to anybody."""

    output: bytes
    logged: bytes
    """What it wrote of itself, a part of the output."""
    files: bytes
    made: Sequence[str]


@pytest.fixture(scope="module", params=["json", "console"])
def evidence(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Evidence:
    return trio.run(session, tmp_path_factory.mktemp("session"), request.param)


async def session(folder: Path, log_format: str) -> Evidence:
    async with trio.open_nursery() as nursery:
        found = await life(folder, nursery, ["--log-format", log_format, "--log-level", "debug"])
        nursery.cancel_scope.cancel()
    return found


async def life(folder: Path, nursery: trio.Nursery, options: Sequence[str]) -> Evidence:
    receiver = await serve_webhooks(nursery, answering(FAILING, FAILING, OK))
    environment = {"AQ_API_KEY": OPERATOR, "AQ_SIGNING_SECRET": SIGNING}
    async with running(folder, "--allow", "127.0.0.0/8", *options, **environment) as server:
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        async with (
            httpx.AsyncClient(base_url=server.url, headers=headers, trust_env=False) as api,
            trio.open_nursery() as listening,
        ):
            client = Session(api)
            await listening.start(client.listen)
            await work(client, receiver.url)
            await be_refused(client)
            await crash(client, server, folder, receiver.url)
            listening.cancel_scope.cancel()
        arguments = await trio.Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        files = read_all(folder)
    doctor = await trio.run_process(
        [sys.executable, "-m", "aq", "doctor", "--json"],
        cwd=folder,
        check=False,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
    )
    assert receiver.requests[0].headers["authorization"] == HEADER  # the secrets were in use
    logged = server.said.encode() + server.logged.encode()
    output = logged + client.heard + arguments + doctor.stdout
    return Evidence(output, logged, files + read_all(folder), client.made)


async def work(client: Session, url: str) -> None:
    """What a service does all day, with secrets wherever they belong."""
    task = {
        "queue": "q",
        "webhook_url": f"{url}?token={PRIVATE['query']}",
        "headers": {"Authorization": HEADER},
        "payload": {"name": PRIVATE["payload"]},
        "tags": [PRIVATE["tag"]],
    }
    await client.ask("POST", "/v1/queues", 201, json={"name": "own", "signing_secrets": [QUEUES_OWN]})
    await client.ask("GET", "/v1/queues/own", 200)
    for fields in ({}, {"environment": "test"}, {"scopes": ["read"], "rate_limit_per_minute": 9}):
        await client.ask("POST", "/v1/apikeys", 201, json={"name": "n", **fields})
    again = {"Idempotency-Key": "k"}
    await client.ask("POST", "/v1/apikeys", 201, json={"name": "once"}, headers=again)
    await client.ask("POST", "/v1/apikeys", 200, json={"name": "once"}, headers=again)
    await client.ask("GET", "/v1/apikeys", 200)
    failing = await client.ask("POST", "/v1/tasks", 201, json={**task, "max_retries": 0})
    shown = await client.ask("GET", f"/v1/tasks/{failing['id']}?wait=20", 200)
    assert (shown["status"], shown["headers"]) == ("failed", {"authorization": "***"})
    await client.ask("POST", f"/v1/tasks/{failing['id']}/retry", 200)
    await client.ask("GET", f"/v1/tasks/{failing['id']}?wait=20", 200)
    told = {**task, "queue": "own", "callback_url": url, "idempotency_key": "i", "delay": 0}
    done = await client.ask("POST", "/v1/tasks", 201, json=told)
    await client.ask("POST", "/v1/tasks", 200, json=told)
    await client.ask("GET", f"/v1/tasks/{done['id']}?wait=20", 200)
    later = await client.ask("POST", "/v1/tasks", 201, json={**task, "delay": 3600})
    await client.ask("GET", f"/v1/tasks/{later['id']}/explain", 200)
    await client.ask("POST", "/v1/tasks/batch", 201, json={"tasks": [task, {**task, "delay": 9}]})
    slots = {"cron": "* * * * *", "task": task}
    await client.ask("POST", "/v1/schedules", 201, json=slots)
    for path in (
        "/v1/tasks",
        "/v1/queues",
        "/v1/schedules",
        "/v1/stats",
        "/metrics",
        f"/v1/tasks?tag={PRIVATE['tag']}",
        "/openapi.json",
        "/docs",
        "/readyz",
    ):
        await client.ask("GET", path, 200)


async def be_refused(client: Session) -> None:
    """Wrong keys in every place, and secrets in every wrong place."""
    for headers in (
        {"Authorization": f"Bearer {REFUSED}"},
        {"Authorization": f"Basic {REFUSED}"},
        {"Authorization": REFUSED},
        {"Authorization": "", "X-API-Key": REFUSED},
        {"Authorization": "", "X-Api-Token": REFUSED},
        {"Authorization": "", "Cookie": f"key={REFUSED}"},
    ):
        await client.ask("GET", "/v1/tasks", 401, headers=headers)
    await client.ask("GET", f"/v1/tasks?api_key={MISPLACED}", 422)
    await client.ask("GET", f"/v1/tasks?cursor={MISPLACED}&status={MISPLACED}&limit={MISPLACED}", 422)
    for field_, value in {
        "queue": f"{MISPLACED} {MISPLACED}",
        "webhook_url": f"https://user:{MISPLACED}@example.com/",
        "callback_url": f"{MISPLACED}@example.com",
        "headers": {"X-A": f"{MISPLACED}\n"},
        "idempotency_key": f"{MISPLACED}\n",
        "ordering_key": f"{MISPLACED}\n",
        "method": MISPLACED,
        "run_at": MISPLACED,
        "tags": [f"{MISPLACED}\n"],
        "priority": MISPLACED,
    }.items():
        task = {"queue": "q", "webhook_url": "https://example.com/", field_: value}
        await client.ask("POST", "/v1/tasks", 422, json=task)
    for given in (MISPLACED, [MISPLACED], {"Host": MISPLACED}, {f"Authorization: {MISPLACED}": "x"}):
        task = {"queue": "q", "webhook_url": "https://example.com/", "headers": given}
        await client.ask("POST", "/v1/tasks", 422, json=task)
    for secrets in (f"whsec_{MISPLACED}", [f"whsec_{MISPLACED}"], [MISPLACED] * 3, {"a": MISPLACED}):
        await client.ask("PATCH", "/v1/queues/own", 422, json={"signing_secrets": secrets})
    await client.ask("POST", "/v1/apikeys", 422, json={"name": "n", "scopes": [MISPLACED]})
    slots = {"cron": MISPLACED, "timezone": MISPLACED, "task": {"headers": MISPLACED}}
    await client.ask("POST", "/v1/schedules", 422, json=slots)
    json = {"Content-Type": "application/json"}
    await client.ask("POST", "/v1/tasks", 400, content=f'{{"headers": {MISPLACED}', headers=json)
    await client.ask("POST", "/v1/tasks", 415, content=b"{}", headers={"Content-Type": MISPLACED})


async def crash(client: Session, server: Process, folder: Path, url: str) -> None:
    """Faults that no request can bring about: in the runner, and in the storage under every route."""
    task = {"queue": "own", "webhook_url": url, "headers": {"Authorization": HEADER}, "delay": 1}
    made = await client.ask("POST", "/v1/tasks", 201, json=task)
    broken = "replace(options, 'Bearer MARK', 'Bearer ' || char(92) || 'nMARK')"
    alter(folder, f"UPDATE tasks SET options = {broken} WHERE id = '{made['id']}'")
    await server.until_said("the runner crashed")
    alter(folder, "ALTER TABLE tasks RENAME TO gone")
    await client.ask("GET", "/v1/tasks", 503)
    alter(folder, "ALTER TABLE gone RENAME TO tasks")


def alter(folder: Path, statement: str) -> None:
    store = sqlite3.connect(folder / "aq.db", isolation_level=None)
    store.execute(statement)
    store.close()


def read_all(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


def spellings(secret: str) -> list[bytes]:
    """As it is, within quotes or not, in base64, and what a ``whsec_`` holds."""
    bare = secret.removeprefix("Bearer ").removeprefix("whsec_")
    return [bare.encode(), b64encode(secret.encode())[:24], b64encode(bare.encode())[:24]]


def test_no_secret_shows_in_anything_that_leaves_the_server(evidence: Evidence) -> None:
    assert b"Traceback" in evidence.output
    secrets = [OPERATOR, SIGNING, QUEUES_OWN, HEADER, REFUSED, MISPLACED, *evidence.made]
    assert len(secrets) == 10
    for secret in [*secrets, "MARKsigning", "MARKqueue", *map(hash_key, [OPERATOR, *evidence.made])]:
        for spelling in spellings(secret):
            where = evidence.output.find(spelling)
            assert where < 0, evidence.output[max(0, where - 300) : where + 100]


def test_nothing_that_clients_or_receivers_wrote_is_logged(evidence: Evidence) -> None:
    """And all of it was there to be logged: the clients were shown it."""
    assert b"an attempt has ended" in evidence.logged
    assert b"a request" in evidence.logged
    for word in PRIVATE.values():
        assert word.encode() in evidence.output
        where = evidence.logged.find(word.encode())
        assert where < 0, evidence.logged[max(0, where - 300) : where + 100]


def test_of_the_files_none_has_a_key_or_the_services_signing_secret(evidence: Evidence) -> None:
    for secret in (OPERATOR, REFUSED, SIGNING, "MARKsigning", *evidence.made):
        for spelling in spellings(secret):
            assert spelling not in evidence.files


def test_what_is_sent_is_in_the_files_as_it_is(evidence: Evidence) -> None:
    """Values of headers and the secrets of queues: said so in docs/security.md."""
    for secret in (HEADER, QUEUES_OWN):
        assert spellings(secret)[0] in evidence.files
