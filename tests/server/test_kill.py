"""``aq serve`` killed with -9 in the middle of its work, and started again on the same file."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import trio

from tests.server.serve_world import KEY, Process, client, holding_target, running


async def status(sender: httpx.AsyncClient, task_id: str) -> str:
    return str((await sender.get(f"/v1/tasks/{task_id}")).json()["status"])


async def kill(server: Process) -> None:
    server.process.kill()
    await server.process.wait()


async def test_kill_9_loses_nothing_and_brings_nothing_back(tmp_path: Path) -> None:
    serve = ("--storage", "sqlite:///aq.db", "--allow", "127.0.0.0/8")
    async with holding_target() as target:
        task = {"queue": "q", "webhook_url": target.url, "max_retries": 0}
        async with running(tmp_path, *serve, AQ_API_KEY=KEY) as server, client(server.url) as sender:
            made = [(await sender.post("/v1/tasks", json={**task, "delay": 1})).json() for _ in range(10)]
            gone = made.pop()
            assert (await sender.delete(f"/v1/tasks/{gone['id']}")).status_code == 204
            running_now = (await sender.post("/v1/tasks", json=task)).json()
            await target.arrived.wait()
            await kill(server)
        async with running(tmp_path, *serve, AQ_API_KEY=KEY) as server, client(server.url) as sender:
            for known in (*made, running_now):
                assert await status(sender, known["id"]) in ("pending", "active")
            assert (await sender.get(f"/v1/tasks/{gone['id']}")).status_code == 404
            target.go.set()
            for known in (*made, running_now):
                ended = await sender.get(f"/v1/tasks/{known['id']}?wait=60")
                assert ended.json()["status"] == "completed"
            again = (await sender.get(f"/v1/tasks/{running_now['id']}")).json()
            assert [attempt["status"] for attempt in again["attempts"]] == ["unknown", "success"]
            assert [attempt["number"] for attempt in again["attempts"]] == [1, 2]
            for known in made:
                task_now = (await sender.get(f"/v1/tasks/{known['id']}")).json()
                assert task_now["attempts"][0]["executed_at"] >= known["run_at"]


async def test_under_load_no_end_of_a_process_breaks_a_promise() -> None:
    """The short form of ``make kill9``; what its judge finds is held by test_kill_judge."""
    command = [sys.executable, "-m", "benchmarks.kill9", "--kills", "3", "--terms", "2"]
    done = await trio.run_process(command, check=False, capture_stdout=True, capture_stderr=True)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    assert done.stdout.decode().endswith(": every promise held\n")
    assert "3 kills and 3 SIGTERMs" in done.stdout.decode()
