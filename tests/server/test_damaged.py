"""``aq serve`` on a store that is damaged, moved or deleted while it runs: it says so, and writes no more."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trio

from aq.opening import open_engine
from aq.storage.sqlite.schema import CHECKED_AT_OPEN
from tests.engine.support import URL, submit_many
from tests.server.serve_world import KEY, Process, client, running

TASK = {"queue": "q", "webhook_url": URL, "delay": 3_600}


async def filled(path: Path, tasks: int, payload: int) -> str:
    """A store of tasks that are due tomorrow; the id of one."""
    async with open_engine(f"sqlite:///{path}") as engine:
        for _ in range(tasks // 5):
            made = await submit_many(engine, 5, delay=86_400, payload={"x": "x" * payload})
    return made[0].id


def damage(path: Path) -> None:
    """Zeroes over a leaf page of the index of lists."""
    connection = sqlite3.connect(path)
    found = connection.execute(
        "SELECT pageno FROM dbstat WHERE name = 'tasks_by_environment' AND pagetype = 'leaf'"
    )
    page = found.fetchall()[0][0]
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(64))


def files(folder: Path) -> dict[str, bytes]:
    """Of the store and its log."""
    return {
        path.name: path.read_bytes() for path in folder.glob("aq.db*") if path.suffix in (".db", ".db-wal")
    }


async def refuses_writes(api: httpx.AsyncClient, task: str, *told: str) -> None:
    """Each of them, and says why and what to do; so does the probe, and what can be read is read."""
    for method, path, body in (
        ("POST", "/v1/tasks", TASK),
        ("POST", "/v1/tasks/batch", {"tasks": [TASK, TASK]}),
        ("DELETE", f"/v1/tasks/{task}", None),
        ("PATCH", "/v1/queues/q", {"concurrency": 2}),
        ("POST", "/v1/queues/q/purge", None),
        ("POST", "/v1/schedules", {"every": 60, "task": {"queue": "q", "webhook_url": URL}}),
        ("POST", "/v1/apikeys", {"name": "n"}),
    ):
        answer = await api.request(method, path, json=body)
        assert answer.status_code == 503, (method, path, answer.text)
        assert "Retry-After" in answer.headers
        for text in told:
            assert text in answer.json()["error"]
    ready = await api.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert told[0] in ready.json()["problems"][0]
    assert (await api.get("/healthz")).status_code == 200
    assert (await api.get(f"/v1/tasks/{task}")).json()["status"] == "pending"
    assert (await api.get("/v1/queues/q")).json()["counts"]["pending"] >= 5


async def ends_in_good_order(server: Process) -> None:
    server.terminate()
    assert await server.process.wait() == 0
    assert "Traceback" not in server.logged


@pytest.mark.parametrize("found", ["at the opening", "beside its use", "at first touch"])
async def test_damage_is_told_and_not_written_over(found: str, tmp_path: Path) -> None:
    path = tmp_path / "aq.db"
    large = found == "beside its use"
    task = await filled(path, 70, CHECKED_AT_OPEN // 65) if large else await filled(path, 50, 10)
    if found != "at first touch":
        damage(path)
    async with running(tmp_path, AQ_API_KEY=KEY) as server, client(server.url) as api:
        if found == "at first touch":
            assert (await api.post("/v1/tasks", json=TASK)).status_code == 201
            damage(path)
            assert (await api.get("/v1/tasks")).status_code == 503
        while (await api.get("/readyz")).status_code == 200:
            await trio.lowlevel.checkpoint()
        before = files(tmp_path)
        await refuses_writes(api, task, "", "the store is damaged", "restore a backup")
        await ends_in_good_order(server)
    assert files(tmp_path) == before


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


@pytest.mark.parametrize("what", [moved, Path.unlink])
async def test_a_store_that_is_moved_or_deleted_takes_no_more(
    what: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "aq.db"
    task = await filled(path, 5, 10)
    async with running(tmp_path, AQ_API_KEY=KEY) as server, client(server.url) as api:
        assert (await api.post("/v1/tasks", json=TASK)).status_code == 201
        assert (await api.get("/v1/tasks")).status_code == 200
        what(path)
        assert (await api.post("/v1/tasks", json=TASK)).status_code == 503
        await refuses_writes(api, task, "the file was moved or deleted", "put it back", "restart")
        await ends_in_good_order(server)
    if what is moved:
        path.with_name("elsewhere").rename(path)
        async with running(tmp_path, AQ_API_KEY=KEY) as server, client(server.url) as api:
            assert (await api.get("/v1/tasks")).json()["pagination"]["total"] == 6
