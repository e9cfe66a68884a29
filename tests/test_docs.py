"""What README and docs show is run here: shell and Python, JSON answers, links, the states, the promises."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from aq.api import queues as queue_route
from aq.api import tasks as task_route
from aq.apikey import NewKey, Scope
from aq.delivery.addresses import REFUSED_V4, REFUSED_V6
from aq.delivery.protocol import Delivery
from aq.delivery.signing import Secret, sign
from aq.delivery.webhook import body_of
from aq.errors import AsyncQueueError
from aq.lifecycle import TRANSITIONS
from aq.outcome import ErrorType
from aq.queues import Retry
from aq.rules import rules_of
from aq.schedule import NewSchedule
from aq.task import Environment, NewTask, QueueKey
from tests.api.api_world import open_api
from tests.docs.blocks import PAGES, ROOT, blocks
from tests.docs.curl import Command, curl, remembered, same_shape
from tests.server.serve_world import Process, client, running

README = (ROOT / "README.md").read_text()
API = [
    ROOT / "docs/api.md",
    *(
        ROOT / "docs/api" / f"{name}.md"
        for name in ("tasks", "queues", "schedules", "events", "keys", "webhooks")
    ),
]
"""In the order in which they are read."""
WEBHOOKS = API[-1].read_text()


async def ended(server: Process, key: str, task_id: str) -> dict[str, Any]:
    """The task once it is completed or failed."""
    async with client(server.url, key) as sender:
        task: dict[str, Any] = (await sender.get(f"/v1/tasks/{task_id}?wait=60")).json()
    assert task["status"] in ("completed", "failed"), task
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


async def test_readme_block_of_a_task_that_fails(tmp_path: Path) -> None:
    """Its retries are the default ones; what is waited for is that the first attempt has failed."""
    async with running(tmp_path, "--dev") as server:
        program, *words = shlex.split(blocks(README, "sh")[1])
        assert program == ".venv/bin/aq"
        words = [word.replace("http://127.0.0.1:8080", server.url) for word in words]
        sent = await trio.run_process(
            [sys.executable, "-m", "aq", *words, "--json"], cwd=tmp_path, capture_stdout=True
        )
        task_id = json.loads(sent.stdout)["id"]
        async with client(server.url, server.key) as sender:
            with trio.fail_after(15):
                while not (task := (await sender.get(f"/v1/tasks/{task_id}")).json())["attempts"]:
                    pass
        assert task["max_retries"] == 3
        assert task["attempts"][0]["error_type"] == "http_5xx"


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
        example = blocks(README, "sh")[2].replace("http://127.0.0.1:8080", server.url)
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
    (_, _, _, block) = blocks(README, "sh")
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


# -- links --------------------------------------------------------------------------------------------------
def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


# -- docs ---------------------------------------------------------------------------------------------------
async def test_every_curl_line_of_the_api_pages(tmp_path: Path) -> None:
    """In order, on one server, with ids from the answers before. A comment at the end names the status."""
    async with running(tmp_path, "--dev") as server:
        variables = {"AQ_API_KEY": server.key, "AQ": server.url}
        for page in API:
            text = page.read_text().replace("http://127.0.0.1:8080", server.url)
            for commands, shown in EXAMPLES.findall(text):
                answers = [
                    await answered(line, variables) for line in re.split(r"\n(?=curl)", commands.strip())
                ]
                assert not shown or same_shape(json.loads(shown), answers[-1]), shown


EXAMPLES = re.compile(r"^```sh\n(.*?)^```\n(?:\n```json\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
"""Commands, and the answer of the last of them where the docs show it."""


async def answered(line: str, variables: dict[str, str]) -> Any:
    """What a line is answered, once that is as the docs say; what later lines need of it is remembered."""
    line, _, status = line.partition("  # ")
    command = Command.of(line, variables)
    if command.most_seconds is not None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_something, variables)
            variables["EVENT"] = await command.listen() or variables["EVENT"]
            nursery.cancel_scope.cancel()
        return None
    reply = await command.run()
    expected = [int(status)] if status else range(200, 300)
    assert reply.status_code in expected, f"{line}\n{reply.status_code} {reply.text}"
    answer: Any = reply.json() if reply.content else None
    assert "wait=" not in line or answer["status"] in ("completed", "failed"), answer
    variables.update(remembered(answer or {}))
    return answer


async def send_something(variables: dict[str, str]) -> None:
    """Somebody else's tasks, for those who listen."""
    body = {"queue": "emails", "webhook_url": "https://example.com/", "delay": 3600}
    async with client(variables["AQ"], variables["AQ_API_KEY"]) as sender:
        while True:
            assert (await sender.post("/v1/tasks", json=body)).status_code == 201
            await trio.sleep(0.1)


async def test_every_route_is_in_the_api_page() -> None:
    text = API[0].read_text()
    async with open_api(dev=True) as api:
        rules = [rule for rule in api.app.url_map.iter_rules() if rule.endpoint != "static"]
    assert len(rules) > 30
    routes = set()
    for rule in rules:
        path = re.sub(r"<(?:\w+:)?(?:\w+_)?(\w+)>", r"{\1}", rule.rule)
        routes |= {f"`{method} {path}`" for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    table = set(re.findall(r"^\| (`[A-Z]+ /\S*`) \|", text, re.MULTILINE))
    assert table == routes


FIELDS = {
    "tasks.md": {*rules_of(NewTask), *task_route.FILTERS, *task_route.PAGE, *task_route.WAIT, *ErrorType},
    "queues.md": {*queue_route.NEW, *queue_route.PURGE, *rules_of(Retry)},
    "schedules.md": {*rules_of(NewSchedule)},
    "keys.md": {*rules_of(NewKey), *Scope},
}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_in_its_page(name: str) -> None:
    text = (ROOT / "docs/api" / name).read_text()
    assert {field for field in FIELDS[name] if not re.search(rf"[`?]{field}[`=]", text)} == set()


def test_every_status_is_in_the_table_of_errors() -> None:
    table = set(map(int, re.findall(r"^\| (\d{3}) \|", API[0].read_text(), re.MULTILINE)))
    known = {error.status for error in every_kind(AsyncQueueError)} - {500}
    assert known | {405, 408, 413, 431} == table


def every_kind(error: type[AsyncQueueError]) -> Iterator[type[AsyncQueueError]]:
    yield error
    for kind in error.__subclasses__():
        yield from every_kind(kind)


def test_the_api_page_shows_the_delivery_as_it_is() -> None:
    shown = json.loads(blocks(WEBHOOKS, "json")[0])
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
    for block in blocks(WEBHOOKS, "python"):
        exec(block, names)
    old, new, other = (Secret(Random(seed).randbytes(32)) for seed in range(3))
    body = b'{"a":1}'
    headers = dict(sign([new, old], "task_1", int(time.time()), body))
    for secret in (old, new):
        assert names["verified"](body, headers, str(secret)) == {"a": 1}
        assert names["is_ours"](body, headers["x-asyncqueue-signature"], str(secret)) is True
    assert names["is_ours"](body, headers["x-asyncqueue-signature"], str(other)) is False
    assert names["is_ours"](body + b" ", headers["x-asyncqueue-signature"], str(new)) is False
    old_one = dict(sign([new], "task_1", int(time.time()) - 3600, body))
    assert names["is_ours"](body, old_one["x-asyncqueue-signature"], str(new)) is False


def test_the_states_picture_is_the_table() -> None:
    picture = (ROOT / "docs/architecture.md").read_text().split("<!-- states:")[1].split("```")[1]
    drawn = {tuple(re.split(r"\s*-+>?\s*", line)) for line in picture.strip().split("\n")}
    table = {(before or "(none)", event, after or "(none)") for (before, event), after in TRANSITIONS.items()}
    assert drawn == {tuple(str(part) for part in row) for row in table}


# -- promises -----------------------------------------------------------------------------------------------
@cache
def known_tests(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(it.name for it in functions if it.name.startswith("test_"))


@pytest.mark.parametrize("page", ["security.md", "reliability.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", text)
    assert len(named) == text.count("::test_") > 5
    assert [f"{path}::{name}" for path, name in named if name not in known_tests(path)] == []


def test_the_security_page_lists_the_ranges_that_are_refused() -> None:
    text = (ROOT / "docs/security.md").read_text()
    listed = re.findall(r"^\| `(\S+/\d+)` \| (.+) \|$", text, re.MULTILINE)
    assert listed == [(str(network), what) for network, what in REFUSED_V4 + REFUSED_V6]


def promises() -> Iterator[tuple[str, str]]:
    """(promise, what holds it), row by row."""
    text = (ROOT / "docs/contract.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text, re.MULTILINE)
    return ((promise, held_by) for promise, held_by in rows if promise != "promise")


def test_every_promise_is_held_by_tests_that_exist() -> None:
    known = [promise for promise, _ in promises()]
    assert len(known) == len(set(known)) > 80
    for promise, held_by in promises():
        named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", held_by)
        assert named, promise
        assert re.sub(r"`\S+`", "", held_by).strip() == "", promise
        missing = [f"{path}::{name}" for path, name in named if name not in known_tests(path)]
        assert not missing, promise
