"""Every example does what it says, run as a reader would run it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import httpx
import trio

from aq import AsyncClient
from tests.client.faces import service
from tests.docs.blocks import ROOT
from tests.server.serve_world import KEY, running

EXAMPLES = ROOT / "examples"
SECRET = "whsec_" + "c2VjcmV0" * 6


async def output(*args: str, **env: str) -> str:
    """What a program says that ends well."""
    command = [sys.executable, "-W", "error", *args]
    done = await trio.run_process(
        command, cwd=ROOT, env={**os.environ, **env}, capture_stdout=True, capture_stderr=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return bytes(done.stdout).decode()


async def test_a_trio_app_with_handlers_of_its_own() -> None:
    said = (await output("examples/trio_app.py")).splitlines()
    assert sorted(said) == [
        "mail completed ['success']",
        "mail to ada@example.com",
        "thumbnail of picture 7 at attempt 2",
        "thumbnails completed ['error', 'success']",
    ]


async def test_a_quart_app_with_the_api_beside_it(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLES / "quart_app.py"), "0"]
    async with running(tmp_path, command=command) as process:
        async with httpx.AsyncClient(base_url=process.url, trust_env=False) as browser:
            signed_up = await browser.post("/signup", data={"email": "ada@example.com"})
            assert signed_up.status_code == 202
            assert (await browser.post("/hooks/welcome", content=b"{}")).status_code == 401
            assert (await browser.get("/v1/tasks")).status_code == 401
        await process.until_said("welcome, ada@example.com")
        async with AsyncClient(process.url, process.key) as client:
            task = await client.tasks.wait(signed_up.json()["task"], timeout=10)
            assert (task.status, task.payload) == ("completed", {"to": "ada@example.com"})
            assert (await client.ready()).status == "ready"


async def test_a_benchmark_of_ones_own_runner(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/bench.db"
    said = await output("examples/bench_runner.py", "--tasks", "300", "--storage", storage)
    numbers = [float(it.replace(",", "")) for it in re.findall(r"\d[\d,.]*(?= (?:tasks/s|ms))", said)]
    assert len(numbers) == 4
    assert numbers[0] > 0
    assert numbers[1] > 0


async def test_an_app_tested_on_virtual_time() -> None:
    said = await output("-m", "pytest", "examples/testing", "-q", "-p", "no:cacheprovider")
    assert re.search(r"^4 passed", said, re.MULTILINE)


async def test_send_and_receive() -> None:
    async with service(signing_secret=SECRET) as server:
        said = await output(
            "examples/send_and_receive.py", AQ_URL=server.url, AQ_API_KEY=KEY, AQ_SIGNING_SECRET=SECRET
        )
    assert re.fullmatch(
        r"sent task_\w+\nattempt 1: mail to ada@example\.com\ncompleted after 1 attempt\n", said
    )


def test_every_example_is_told_of() -> None:
    told = set(re.findall(r"\]\(([\w.]+)/?\)", (EXAMPLES / "README.md").read_text()))
    assert told == {it.name for it in EXAMPLES.iterdir() if it.name not in ("README.md", "__pycache__")}
