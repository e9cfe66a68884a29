"""``aq bench``: against a server, against an engine of its own, and when something is wrong."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import trio

from aq.cli.ends import Code
from tests.cli.cli_world import Ended, aq, process
from tests.server.serve_world import KEY, client, serving

FEW = ("--requests", "20", "--connections", "4")


async def bench(url: str, folder: Path, *args: str, key: str = KEY) -> Ended:
    command = partial(process, "bench", "--url", url, *args, folder=folder, AQ_API_KEY=key)
    return await trio.to_thread.run_sync(command)


async def test_a_server_is_measured_until_its_last_webhook_has_arrived(tmp_path: Path) -> None:
    async with serving(storage="memory:", dev=True, api_key=KEY) as server:
        json = await bench(server.url, tmp_path, *FEW, "--batch", "3", "--json")
        text = await bench(server.url, tmp_path, *FEW, "--rate", "200")
    assert (json.code, text.code) == (Code.DONE, Code.DONE), json.err + text.err
    told = json.json
    assert (told["tasks"], told["arrived"], told["statuses"]) == (60, 60, {"201": 20})
    assert (told["lost"], told["unsent"], told["refusal"]) == (0, 0, None)
    assert told["accepted_per_second"] > 0
    assert 0 < told["accepted_ms"]["p50"] <= told["accepted_ms"]["p99.9"]
    assert 0 < told["arrived_ms"]["p50"] <= told["arrived_ms"]["max"]
    assert re.search(r"^accepted +20 tasks, ", text.out, re.MULTILINE)
    assert re.search(r"^arrived +20 webhooks, ", text.out, re.MULTILINE)


async def test_what_was_refused_is_told_with_its_reason(tmp_path: Path) -> None:
    async with serving(storage="memory:", api_key=KEY) as server:  # without --dev: no webhook to loopback
        blocked = await bench(server.url, tmp_path, *FEW, "--json")
        wrong_key = await bench(server.url, tmp_path, *FEW, key="aq_live_" + "x" * 43)
    assert (blocked.code, wrong_key.code) == (Code.FAILED, Code.FAILED)
    assert blocked.json["statuses"] == {"422": 20}
    assert "20 requests were not accepted. The first answer: webhook_url " in blocked.err
    assert "this API key is not valid" in wrong_key.err


async def test_webhooks_that_do_not_arrive_are_told(tmp_path: Path) -> None:
    async with serving(storage="memory:", dev=True, api_key=KEY) as server, client(server.url) as api:
        await api.post("/v1/queues", json={"name": "bench", "paused": True})
        ended = await bench(server.url, tmp_path, *FEW, "--patience", "0.1", "--json")
    assert (ended.code, ended.json["tasks"], ended.json["arrived"]) == (Code.FAILED, 20, 0)
    assert "20 of 20 webhooks have not arrived yet" in ended.err


def test_an_engine_is_measured_with_a_runner_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(
        "from aq import Delivery, Outcome\n"
        "async def run(delivery: Delivery) -> Outcome:\n"
        "    with open('ran', 'a') as file:\n"
        "        file.write(delivery.task_id + '\\n')\n"
        "    return Outcome.success()\n"
    )
    args = ("bench", "--storage", "sqlite:///try.db", "--runner", "jobs:run", *FEW, "--json")
    ended = process(*args, folder=tmp_path)
    assert ended.code == Code.DONE, ended.err
    assert (ended.json["tasks"], ended.json["arrived"]) == (20, 20)
    assert len(set((tmp_path / "ran").read_text().split())) == 20


def test_an_engine_in_an_open_loop_and_with_batches() -> None:
    ended = aq("bench", "--storage", "memory:", *FEW, "--rate", "500", "--batch", "2", "--json")
    assert ended.code == Code.DONE, ended.err
    assert (ended.json["tasks"], ended.json["arrived"]) == (40, 40)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    ended = process("bench", "--url", "http://127.0.0.1:1", "--api-key", KEY, *FEW, folder=tmp_path)
    assert ended.code == Code.UNREACHABLE
    assert "http://127.0.0.1:1 cannot be reached" in ended.err


def test_a_runner_that_cannot_be_found_or_has_no_engine() -> None:
    lost = aq("bench", "--storage", "memory:", "--runner", "nowhere:run")
    assert (lost.code, "nowhere" in lost.err) == (Code.USAGE, True)
    without = aq("bench", "--runner", "jobs:run")
    assert (without.code, "--storage" in without.err) == (Code.USAGE, True)
