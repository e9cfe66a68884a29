"""Over HTTP, on a disk that is full: reads go on, writes are refused, and go on when there is space."""

from __future__ import annotations

from pathlib import Path

import apsw
import trio

from aq.storage.sqlite import open_sqlite
from tests.api.api_world import URL, check_problem, open_api
from tests.engine.support import inline
from tests.powercut.machine import Machine, Moment, running
from tests.powercut.platter import Write

TASK = {"queue": "q", "webhook_url": URL, "delay": 3600}


async def test_a_full_disk_refuses_writes_until_there_is_space(
    autojump_clock: object, tmp_path: Path
) -> None:
    full = False

    def plan(moment: Moment | None) -> None:
        if full and moment is not None and isinstance(moment.operation, Write):
            raise apsw.exception_for(apsw.SQLITE_FULL)

    with running(Machine(tmp_path / "aq.db", plan=plan)) as machine:
        async with (
            open_sqlite(str(machine.path), connect=machine.connect, hop=inline) as storage,
            open_api(storage=storage) as api,
        ):
            there = f"/v1/tasks/{(await api.task())['id']}"
            full = True
            for method, path, body in [
                ("POST", "/v1/tasks", TASK),
                ("POST", "/v1/tasks", {**TASK, "queue": "new"}),
                ("POST", "/v1/tasks/batch", {"tasks": [TASK, TASK]}),
                ("POST", "/v1/schedules", {"task": TASK, "every": 60}),
                ("DELETE", there, None),
            ]:
                reply = await api.call(method, path, body)
                check_problem(reply, 503)
                assert int(reply.headers["Retry-After"]) >= 1
            assert (await api.get(there)).json["status"] == "pending"
            assert (await api.get("/v1/tasks")).json["pagination"]["total"] == 1
            assert "no space" in (await api.get("/readyz", key=None)).json["problems"][0]
            full = False
            await trio.sleep(int(reply.headers["Retry-After"]))
            assert (await api.call("DELETE", there)).status == 204
            await api.task()
            assert (await api.get("/v1/tasks")).json["pagination"]["total"] == 1
            assert (await api.get("/readyz", key=None)).status == 200
            assert await storage.audit() == []
