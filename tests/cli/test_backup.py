"""``aq backup``: while a server works on the store, and what is refused."""

from __future__ import annotations

from pathlib import Path

import trio

from tests.cli.cli_world import process
from tests.server.serve_world import KEY, client, running


async def test_a_copy_made_under_load_is_true_and_has_what_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: list[str] = []

    async def create(url: str) -> None:
        body = {"queue": "q", "webhook_url": "https://example.com/", "delay": 3_600}
        async with client(url) as api:
            while True:
                made = await api.post("/v1/tasks", json=body)
                acknowledged.append(made.json()["id"])

    async with running(tmp_path, AQ_API_KEY=KEY) as server, trio.open_nursery() as nursery:
        nursery.start_soon(create, server.url)
        while len(acknowledged) < 50:
            await trio.lowlevel.checkpoint()
        before = list(acknowledged)
        ended = await trio.to_thread.run_sync(lambda: process("backup", "copy.db", "--json", folder=tmp_path))
        assert (ended.code, ended.json["file"]) == (0, "copy.db")
        assert ended.json["bytes"] == (tmp_path / "copy.db").stat().st_size
        nursery.cancel_scope.cancel()
    looked = process("doctor", "--storage", "sqlite:///copy.db", folder=tmp_path)
    assert (looked.code, looked.out) == (0, "all is true: counters and marks agree with every task\n")
    async with (
        running(tmp_path, "--storage", "sqlite:///copy.db", AQ_API_KEY=KEY) as restored,
        client(restored.url) as api,
    ):
        for task in before:
            assert (await api.get(f"/v1/tasks/{task}")).status_code == 200


async def test_what_is_there_is_replaced_with_force_only(tmp_path: Path) -> None:
    async with running(tmp_path, AQ_API_KEY=KEY):
        (tmp_path / "copy.db").write_text("mine")
        ended = process("backup", "copy.db", folder=tmp_path)
        assert ended.code == 1
        assert "Add --force to replace it." in ended.err
        assert (tmp_path / "copy.db").read_text() == "mine"
        assert process("backup", "copy.db", "--force", folder=tmp_path).code == 0


def test_what_cannot_be_copied(tmp_path: Path) -> None:
    assert process("backup", "x", "--storage", "memory:", folder=tmp_path).code == 2
    ended = process("backup", "x", "--json", folder=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert "there is no store" in ended.error["error"]
