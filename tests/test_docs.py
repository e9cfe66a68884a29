"""What README and docs show is run here: every block of shell and Python, every JSON answer, the states."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import trio

from aq.delivery.protocol import Delivery
from aq.delivery.signing import Secret, sign
from aq.delivery.webhook import body_of
from aq.lifecycle import TRANSITIONS
from aq.task import Environment, QueueKey
from tests.server.serve_world import Process, client, running

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs/api.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


async def curl(command: str, variables: dict[str, str]) -> httpx.Response:
    """What curl would do with a command line that the docs show (curl itself may not be installed)."""
    for name, value in variables.items():
        command = command.replace(f"${name}", value)
    words = shlex.split(command.replace("\\\n", " "))
    assert words.pop(0) == "curl"
    method, body, headers, url = "GET", None, {}, ""
    while words:
        match words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-d":
                body = words.pop(0)
                method = "POST" if method == "GET" else method
            case "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            case word:
                url = word
    async with client(url, None) as sender:
        return await sender.request(method, url, content=body, headers=headers)


async def ended(server: Process, key: str, task_id: str) -> dict[str, Any]:
    """The task once it is completed or failed; asked again and again, as a user would."""
    task: dict[str, Any] = {"status": "pending"}
    async with client(server.url, key) as sender:
        with trio.fail_after(15):
            while task["status"] not in ("completed", "failed"):
                task = (await sender.get(f"/v1/tasks/{task_id}")).json()
    return task


# -- README -------------------------------------------------------------------------------------------------
async def test_readme_make_serve_then_the_line_that_it_prints(tmp_path: Path) -> None:
    first = blocks(README, "sh")[0].split("\n")
    assert first == ["make serve", "make test", ""]
    command = ["make", "--no-print-directory", "-C", str(ROOT), "serve"]
    storage = f"sqlite:///{tmp_path}/aq.db"
    async with running(tmp_path, command=command, AQ_PORT="0", AQ_STORAGE=storage) as server:
        lines = [line.strip() for line in server.said.split("\n") if line.strip().startswith("curl")]
        created = await curl(lines[0], {})
        assert created.status_code == 201, created.text
        task = await ended(server, server.key, created.json()["id"])
        assert task["status"] == "completed"
        assert [attempt["response_code"] for attempt in task["attempts"]] == [200]
        for line in lines[1:]:
            seen = await curl(line, {"ID": task["id"]})
            assert task["id"] in seen.text


def test_readme_make_test_runs_every_test() -> None:
    shown = subprocess.run(
        ["make", "-n", "-C", str(ROOT), "test"], check=True, capture_output=True, text=True
    )
    assert ".venv/bin/pytest" in shown.stdout


def test_readme_library_block() -> None:
    (code,) = blocks(README, "python")
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout == "hello Ada\ncompleted\n"


async def test_readme_create_block(tmp_path: Path) -> None:
    async with running(tmp_path, "--dev") as server:
        example = blocks(README, "sh")[1].replace("http://127.0.0.1:8080", server.url)
        created = await curl(example, {"AQ_API_KEY": server.key})
        assert created.status_code == 201, created.text
        (shown,) = (json.loads(block) for block in blocks(README, "json"))
        answer = created.json()
        for name in ("queue", "status", "priority", "delay"):
            assert answer[name] == shown[name]
        assert shown.keys() <= answer.keys()
        task = await ended(server, server.key, answer["id"])
        assert (task["status"], len(task["attempts"])) == ("completed", 1)


async def test_readme_run_it_for_real_block(tmp_path: Path) -> None:
    (_, _, block) = blocks(README, "sh")
    key, secret = "aq_live_" + "k" * 40, str(Secret(b"s" * 32))
    line = block.strip().replace("aq_live_…", key).replace("whsec_…", secret)
    line = line.replace("/var/lib/aq.db", f"{tmp_path}/aq.db").replace("0.0.0.0", "127.0.0.1")
    environment = dict(re.findall(r"(AQ_\w+)=(\S+)", line))
    words = shlex.split(re.sub(r"AQ_\w+=\S+ ", "", line))
    assert words[0] == ".venv/bin/aq"
    command = [sys.executable, "-m", "aq", *words[1:], "--port", "0"]
    async with running(tmp_path, command=command, **environment) as server, client(server.url, key) as sender:
        assert (await sender.get("/v1/tasks")).status_code == 200
        assert key not in server.said


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)#]+)", README))
def test_readme_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


# -- docs ---------------------------------------------------------------------------------------------------
async def test_every_curl_line_of_the_api_page(tmp_path: Path) -> None:
    async with running(tmp_path, "--dev") as server:
        variables = {"AQ_API_KEY": server.key, "AQ": server.url}
        for block in blocks(API, "sh"):
            for command in re.split(r"\n(?=curl)", block.strip()):
                answer = await curl(command, variables)
                assert answer.status_code < 300, f"{command}\n{answer.text}"
                if answer.status_code == 201 and "id" in answer.json():
                    variables["TASK"] = answer.json()["id"]
                    shown = json.loads(blocks(API, "json")[0])
                    assert answer.json().keys() == shown.keys()
                    assert answer.json()["status"] == shown["status"]


def test_the_api_page_shows_the_delivery_as_it_is() -> None:
    shown = json.loads(blocks(API, "json")[1])
    delivery = Delivery(
        task_id=shown["task_id"],
        queue=QueueKey(Environment.LIVE, shown["queue"]),
        webhook_url="https://example.com/",
        payload=json.dumps(shown["payload"]).encode(),
        attempt=shown["attempt"],
        timeout=30,
        due_at=0,
        started_at=0,
    )
    assert json.loads(body_of(delivery)) == shown


def test_the_api_page_shows_how_to_verify() -> None:
    names: dict[str, Any] = {}
    exec(blocks(API, "python")[0], names)
    secret, body = Secret(Random(1).randbytes(32)), b'{"a":1}'
    headers = dict(sign([secret], "task_1", int(time.time()), body))
    assert names["verified"](body, headers, str(secret)) == {"a": 1}


def test_the_states_picture_is_the_table() -> None:
    picture = (ROOT / "docs/architecture.md").read_text().split("<!-- states:")[1].split("```")[1]
    drawn = {tuple(re.split(r"\s*-+>?\s*", line)) for line in picture.strip().split("\n")}
    table = {(before or "(none)", event, after or "(none)") for (before, event), after in TRANSITIONS.items()}
    assert drawn == {tuple(str(part) for part in row) for row in table}
