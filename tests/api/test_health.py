"""/readyz when something is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from aq.actors.services import Sizes
from aq.errors import StorageCorruptError, StorageFullError
from aq.storage import open_storage
from aq.storage.changes import Unit
from tests.api.api_world import URL, check_problem, open_api
from tests.engine.storages import Faulty

TASK = {"queue": "bad", "webhook_url": URL}


async def test_a_quarantined_queue_is_told_and_does_not_make_the_service_unready(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_storage("memory:") as storage:
        faulty = Faulty(storage)
        async with open_api(storage=faulty, sizes=Sizes(restarts=0)) as api:

            def crash() -> None:
                raise RuntimeError("planted")

            faulty.before_read = crash
            check_problem(await api.call("POST", "/v1/tasks", TASK), 503)
            faulty.before_read = lambda: None
            check_problem(await api.call("POST", "/v1/tasks", TASK), 503)
            assert (await api.call("POST", "/v1/tasks", {**TASK, "queue": "good"})).status == 201
            ready = await api.get("/readyz", key=None)
            assert (ready.status, ready.json["status"]) == (200, "degraded")
            assert ready.json["problems"] == ["queue bad is quarantined"]
            api.runner.go.set()


@pytest.mark.parametrize(
    "error", [StorageCorruptError("the database is damaged"), StorageFullError("no space left")]
)
async def test_a_storage_that_cannot_write_makes_the_service_unready(error: Exception) -> None:
    async with open_storage("memory:") as storage:
        faulty = Faulty(storage)
        async with open_api(storage=faulty) as api:
            api.runner.go.set()

            def fail(units: Sequence[Unit]) -> None:
                raise error

            faulty.before_commit = fail
            for _ in range(2):
                check_problem(await api.call("POST", "/v1/queues", {"name": "q"}), 503)
            ready = await api.get("/readyz", key=None)
            assert ready.status == 503
            assert ready.json == {"status": "not ready", "problems": [str(error)]}
            assert (await api.get("/v1/tasks")).status == 200
            faulty.before_commit = lambda units: None


async def test_a_wall_clock_that_was_set_is_told_and_does_not_make_the_service_unready() -> None:
    ahead = 0.0
    async with open_api(wall=lambda: trio.current_time() + 1_790_000_000 + ahead) as api:
        assert (await api.get("/readyz", key=None)).json == {"status": "ready", "problems": []}
        ahead = 7.5
        ready = await api.get("/readyz", key=None)
        assert (ready.status, ready.json["status"]) == (200, "degraded")
        assert "+7.5 s" in ready.json["problems"][0]
