"""``aq serve``: how it starts, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import trio

from aq.apikey import hash_key
from aq.opening import open_engine
from aq.server import Settings, serve
from aq.storage import open_storage
from aq.storage.changes import PutSetting
from aq.task import Status
from tests.engine.support import Gate, Receiver, submit_many
from tests.server.serve_world import KEY, client, holding_target, running, serving

DATABASE = "sqlite:///aq.db"
LOOPBACK = ("--allow", "127.0.0.0/8")


async def test_a_key_is_made_printed_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/aq.db"
    async with serving(storage=storage) as first, client(first.url, first.key) as api:
        assert len(first.key) == len("aq_live_") + 43
        assert (await api.get("/v1/tasks")).status_code == 200
        [kept] = (await api.get("/v1/apikeys")).json()["apikeys"]
        assert kept["scopes"] == ["read", "write", "admin"]
    assert first.key.encode() not in everything_in(tmp_path)
    async with serving(storage=storage) as second, client(second.url, first.key) as api:
        assert "aq_live_" not in second.said
        assert (await api.get("/v1/tasks")).status_code == 200


async def test_keys_made_and_revoked_over_http_are_so_after_a_restart_and_in_no_file_or_log(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, AQ_API_KEY=KEY) as first, client(first.url) as api:
        made = [(await api.post("/v1/apikeys", json={"name": "n"})).json() for _ in range(2)]
        texts = [shown["key"] for shown in made]
        assert (await api.delete(f"/v1/apikeys/{made[0]['id']}")).status_code == 204
        for text, status in zip(texts, (401, 200), strict=True):
            assert (await api.get("/v1/tasks", headers={"X-API-Key": text})).status_code == status
    for text in texts:
        assert text.encode() not in everything_in(tmp_path) + (first.said + first.logged).encode()
    async with running(tmp_path, AQ_API_KEY=KEY) as second, client(second.url) as api:
        for text, status in zip(texts, (401, 200), strict=True):
            assert (await api.get("/v1/tasks", headers={"X-API-Key": text})).status_code == status


async def test_aq_api_key_is_valid_for_everything_while_it_is_set(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/aq.db"
    async with serving(storage=storage, api_key=KEY) as first, client(first.url) as api:
        assert "aq_live_" not in first.said
        assert (await api.get("/v1/apikeys")).json() == {"apikeys": []}
        admin = (await api.post("/v1/apikeys", json={"name": "n", "scopes": ["admin"]})).json()
    async with serving(storage=storage, api_key=KEY.replace("k", "n")) as second, client(second.url) as api:
        assert (await api.get("/v1/tasks")).status_code == 401
        headers = {"X-API-Key": KEY.replace("k", "n")}
        assert (await api.delete(f"/v1/apikeys/{admin['id']}", headers=headers)).status_code == 204
    assert KEY.encode() not in everything_in(tmp_path)


async def test_a_key_is_made_where_no_stored_one_can_manage_keys(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/aq.db"
    async with serving(storage=storage, api_key=KEY) as first, client(first.url) as api:
        await api.post("/v1/apikeys", json={"name": "n"})
    async with serving(storage=storage) as second, client(second.url, second.key) as api:
        assert len((await api.get("/v1/apikeys")).json()["apikeys"]) == 2


async def test_the_key_that_an_older_version_made_goes_on(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/aq.db"
    async with open_storage(storage) as older:
        await older.commit([[PutSetting("api_key", hash_key(KEY))]], 1)
    for _ in range(2):
        async with serving(storage=storage) as server, client(server.url) as api:
            assert "aq_live_" not in server.said
            assert len((await api.get("/v1/apikeys")).json()["apikeys"]) == 1


async def test_a_dev_run_has_a_key_of_its_own_and_stores_none(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/aq.db"
    async with serving(storage=storage, dev=True) as first, client(first.url, first.key) as api:
        assert (await api.get("/v1/apikeys")).json() == {"apikeys": []}
        kept = (await api.post("/v1/apikeys", json={"name": "n"})).json()["key"]
    async with serving(storage=storage, dev=True) as second, client(second.url, first.key) as api:
        assert (await api.get("/v1/tasks")).status_code == 401
        for key in (second.key, kept):
            assert (await api.get("/v1/tasks", headers={"X-API-Key": key})).status_code == 200
        listed = await api.get("/v1/apikeys", headers={"X-API-Key": second.key})
        assert [known["name"] for known in listed.json()["apikeys"]] == ["n"]


async def test_dev_allows_webhooks_to_loopback_and_otherwise_they_are_refused() -> None:
    body = {"queue": "q", "webhook_url": "http://localhost:9/", "delay": 99}
    for dev, status in ((True, 201), (False, 422)):
        async with serving(storage="memory:", dev=dev, api_key=KEY) as server, client(server.url) as api:
            reply = await api.post("/v1/tasks", json=body)
            assert reply.status_code == status
    assert [wrong["field"] for wrong in reply.json()["errors"]] == ["webhook_url"]


async def test_a_second_server_on_one_database_is_refused(tmp_path: Path) -> None:
    async with serving(storage=f"sqlite:///{tmp_path}/aq.db"):
        code, output = await ended(tmp_path, "--port", "0", "--storage", DATABASE)
    assert code == 1
    assert re.fullmatch(r"Error: .*aq\.db.*: end that one, or take another file\n", output)


async def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    async with serving(storage="memory:") as first:
        port = first.url.rpartition(":")[2]
        code, output = await ended(tmp_path, "--port", port, "--storage", "memory:")
    assert code == 1
    assert output.startswith(f"Error: cannot listen on 127.0.0.1:{port}: ")
    assert "--port or AQ_PORT takes another" in output
    assert output.count("\n") == 1


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with serving(storage=f"sqlite:///{tmp_path}/aq.db"):
        pass
    connection = sqlite3.connect(tmp_path / "aq.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    code, output = await ended(tmp_path, "--port", "0", "--storage", DATABASE)
    assert code == 1
    assert re.fullmatch(r"Error: .*aq\.db.*\n", output)


async def test_dev_prints_a_first_task_that_arrives(tmp_path: Path) -> None:
    async with running(tmp_path, "--dev") as server:
        task = re.findall(r"-d '(.*?)'", server.said)[0]
        assert json.loads(task)["webhook_url"] == f"{server.url}/dev/receiver"
        async with client(server.url, server.key) as api:
            headers = {"Content-Type": "application/json"}
            made = (await api.post("/v1/tasks", content=task, headers=headers)).json()
            await server.until_said("received {")
            shown = (await api.get(f"/v1/tasks/{made['id']}?wait=60")).json()
            assert [attempt["response_code"] for attempt in shown["attempts"]] == [200]
            listed = re.findall(r"'(http://\S+/v1/tasks\?\S+)'", server.said)[0]
            assert (await api.get(listed)).json()["pagination"]["total"] == 1
        assert server.key not in server.logged
    async with running(tmp_path, "--dev") as again:
        assert again.key != server.key


async def test_dev_prints_an_address_that_signs_in_at_the_dashboard_once(tmp_path: Path) -> None:
    async with running(tmp_path, "--dev") as server:
        [address] = re.findall(r"Dashboard +(http://\S+/signin/\S{43}) ", server.said)
        async with client(server.url, None) as browser, client(server.url, None) as other:
            led = await browser.get(address)
            assert (led.status_code, led.headers["location"]) == (303, "/")
            assert "Nothing to do yet" in (await browser.get("/")).text
            assert (await browser.get("/keys")).status_code == 200
            assert (await other.get(address)).status_code == 401
            assert (await other.get("/")).headers["location"] == "/signin"
        assert address.rpartition("/")[2] not in server.logged


async def test_otherwise_the_dashboard_asks_for_a_key(tmp_path: Path) -> None:
    async with running(tmp_path, AQ_API_KEY=KEY) as server, client(server.url, None) as browser:
        assert re.search(rf"Dashboard +{server.url}/\n", server.said)
        assert (await browser.get("/")).headers["location"] == "/signin"
        assert (await browser.post("/signin", data={"key": KEY})).status_code == 303
        assert (await browser.get("/queues")).status_code == 200


async def test_sigterm_refuses_writes_with_the_door_open_and_lets_attempts_finish(tmp_path: Path) -> None:
    async with (
        holding_target() as target,
        running(tmp_path, *LOOPBACK, "--grace", "60", AQ_API_KEY=KEY) as server,
    ):
        async with client(server.url) as api:
            body = {"queue": "q", "webhook_url": target.url}
            task = (await api.post("/v1/tasks", json=body)).json()["id"]
            await target.arrived.wait()
            server.terminate()
            await server.until_said("taking no more work")
            refused = await api.post("/v1/tasks", json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            ready = await api.get("/readyz")
            assert (ready.status_code, ready.json()["problems"]) == (503, ["the service is shutting down"])
            assert (await api.get(f"/v1/tasks/{task}")).json()["status"] == "active"
        target.go.set()
        assert await server.process.wait() == 0
    async with running(tmp_path, *LOOPBACK, AQ_API_KEY=KEY) as again, client(again.url) as api:
        shown = (await api.get(f"/v1/tasks/{task}")).json()
        assert shown["status"] == "completed"
        assert [attempt["status"] for attempt in shown["attempts"]] == ["success"]


async def test_sigterm_while_it_opens_ends_it_in_good_order_and_loses_nothing(tmp_path: Path) -> None:
    storage, said = f"sqlite:///{tmp_path}/aq.db", list[str]()
    with trio.CancelScope() as life:
        async with open_engine(storage, runner=Gate(), grace=0) as engine:
            tasks = [*await submit_many(engine, 20), *await submit_many(engine, 20, delay=3_600)]
            life.cancel()
            await trio.sleep_forever()
    before = signal.getsignal(signal.SIGTERM)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, Settings(port=0, storage=storage, api_key=KEY), said.append)
        while signal.getsignal(signal.SIGTERM) is before:
            await trio.lowlevel.checkpoint()
        assert not said
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    async with open_engine(storage, runner=Receiver()) as engine:
        for task in tasks[:20]:
            assert (await engine.wait(task.id)).task.status is Status.COMPLETED
        assert (await engine.list(status=Status.PENDING)).total == 20


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with (
        holding_target() as target,
        running(tmp_path, *LOOPBACK, "--grace", "600", AQ_API_KEY=KEY) as server,
    ):
        async with client(server.url) as api:
            await api.post("/v1/tasks", json={"queue": "q", "webhook_url": target.url})
        await target.arrived.wait()
        server.terminate()
        await server.until_said("taking no more work")
        server.terminate()
        await server.until_said("second signal: ending at once")
        assert await server.process.wait() == 1


async def test_a_client_that_reads_nothing_does_not_hold_the_end(tmp_path: Path) -> None:
    async with running(tmp_path, "--storage", "memory:", AQ_API_KEY=KEY) as server:
        body = {"queue": "q", "webhook_url": "http://example.com/", "payload": {"x": "y" * 1_000_000}}
        async with client(server.url) as api:
            task = (await api.post("/v1/tasks", json={**body, "delay": 9})).json()["id"]
        stream = await trio.open_tcp_stream("127.0.0.1", int(server.url.rpartition(":")[2]))
        async with stream:
            request = f"GET /v1/tasks/{task} HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n".encode()
            await stream.send_all(request * 50)
            server.terminate()
            assert await server.process.wait() == 0


async def test_a_second_signal_ends_it_at_once_while_it_closes_too(tmp_path: Path) -> None:
    """Nothing runs, so that it closes right after the first; a client that reads nothing makes that last."""
    async with running(tmp_path, "--storage", "memory:", AQ_API_KEY=KEY) as server:
        body = {"queue": "q", "webhook_url": "http://example.com/", "payload": {"x": "y" * 1_000_000}}
        async with client(server.url) as api:
            task = (await api.post("/v1/tasks", json={**body, "delay": 9})).json()["id"]
        async with await trio.open_tcp_stream("127.0.0.1", int(server.url.rpartition(":")[2])) as stream:
            request = f"GET /v1/tasks/{task} HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n".encode()
            await stream.send_all(request * 50)
            server.terminate()
            await server.until_said("taking no more work")
            server.terminate()
            await server.until_said("second signal: ending at once")
            assert await server.process.wait() == 1


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def ended(folder: Path, *args: str) -> tuple[int, str]:
    """The exit code and all output of an ``aq serve`` that does not start."""
    done = await trio.run_process(
        [sys.executable, "-m", "aq", "serve", *args],
        cwd=folder,
        check=False,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout.decode()


async def test_the_lane_can_be_turned_off() -> None:
    """Only the words behind the status tell: Hypercorn sends none."""
    task = {"queue": "q", "webhook_url": "https://example.com/", "delay": 3_600}
    for lane, phrase in ((True, "Created"), (False, "")):
        async with serving(storage="memory:", api_key=KEY, lane=lane) as served, client(served.url) as api:
            answer = await api.post("/v1/tasks", json=task)
            assert (answer.status_code, answer.reason_phrase) == (201, phrase)
