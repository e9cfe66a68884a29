"""What the engine and the server log, in both formats."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.task import NewTask, TraceContext
from aq.telemetry.logs import handler
from tests.api.api_world import URL, open_api
from tests.engine.support import BACK, FAILURE, SUCCESS, Receiver, settled, submit, up, wait_for
from tests.server.serve_world import KEY, client, running

PAGE = Path(__file__).parent.parent.parent / "docs/telemetry.md"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REFUSED = Outcome(
    status=AttemptStatus.FAILURE,
    error_type=ErrorType.HTTP_5XX,
    response_code=502,
    error="answered 502",
    response_body=b"the receiver's words",
)


@contextmanager
def logged(form: str, level: int) -> Iterator[list[str]]:
    """What ``aq`` logs within, line by line."""
    lines: list[str] = []
    stream = io.StringIO()
    to_stream, root = handler(form, stream), logging.getLogger("aq")
    root.addHandler(to_stream)
    root.setLevel(level)
    try:
        yield lines
    finally:
        root.removeHandler(to_stream)
        root.setLevel(logging.NOTSET)
        lines += stream.getvalue().splitlines()


def objects(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


# -- attempts -----------------------------------------------------------------------------------------------
async def test_a_failed_attempt_is_one_line_and_a_success_none(autojump_clock: object) -> None:
    outcomes = [REFUSED, SUCCESS]
    with logged("json", logging.INFO) as lines:
        async with up(runner=Receiver(lambda delivery: outcomes.pop(0))) as engine:
            new = NewTask("q", "https://user.example:8443/hook?token=t", {"a": "payload"})
            task = await engine.submit(new, trace=TraceContext(TRACE))
            await wait_for(engine, [task])
    (line,) = objects(lines)
    (shown,) = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL))
    assert list(shown) == list(line)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "aq.actors.chronicle",
        "event": "an attempt has ended",
        "queue": "q",
        "task_id": task.id,
        "attempt": 1,
        "outcome": "failure",
        "error_type": "http_5xx",
        "code": 502,
        "duration_ms": 0,
        "lateness_ms": 0,
        "host": "user.example:8443",
        "trace_id": TRACE.split("-")[1],
    }


async def test_at_debug_each_attempt_is_a_line_those_of_callbacks_too(autojump_clock: object) -> None:
    receiver = Receiver(lambda delivery: SUCCESS)
    with logged("json", logging.DEBUG) as lines:
        async with up(runner=receiver) as engine:
            await wait_for(engine, [await submit(engine, callback_url=BACK)])
            await settled()
    told = [(it["level"], it["queue"], it["outcome"], it["host"]) for it in objects(lines)]
    assert told == [
        ("debug", "q", "success", "receiver.example"),
        ("debug", "callback:q", "success", "back.example"),
    ]


async def test_where_it_happened_is_told_for_people_too(autojump_clock: object) -> None:
    with logged("console", logging.INFO) as lines:
        async with up(runner=Receiver(lambda delivery: FAILURE)) as engine:
            task = await submit(engine, max_retries=0)
            await wait_for(engine, [task])
    (line,) = lines
    for piece in ("[info", "an attempt has ended", "queue=q", f"task_id={task.id}", "error_type=unknown"):
        assert piece in line


# -- requests -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
async def test_requests_are_lines_at_debug(level: int) -> None:
    with logged("json", level) as lines:
        async with open_api() as api:
            task = await api.post(
                "/v1/tasks",
                {"queue": "q", "webhook_url": URL, "delay": 60},
                headers={"X-Request-Id": "mine-1"},
            )
            await api.get("/v1/queues/none?x=1", headers={"X-Request-Id": "mine-2"}, key=None)
            assert task.status == 201
    known = ("method", "route", "status", "request_id", "key_id")
    told = [[it.get(name) for name in known] for it in objects(lines) if it["event"] == "a request"]
    if level == logging.INFO:
        assert told == []
        return
    assert told == [
        ["POST", "/v1/tasks", 201, "mine-1", "operator"],
        ["GET", "/v1/queues/{name}", 401, "mine-2", None],
    ]
    assert "x=1" not in "".join(lines)


# -- forms --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["console", "json", "auto"])
def test_a_record_is_one_line_whatever_is_in_it(form: str) -> None:
    with logged(form, logging.INFO) as lines:
        logging.getLogger("aq").info("GET %s", "/\n{\x1b[2J\r", extra={"secret": "MARK", "queue": "q\n"})
    (line,) = lines
    assert line.isprintable()
    assert "MARK" not in line
    assert ("{" in line[0]) is (form != "console")


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_does_not_show_what_variables_hold(form: str) -> None:
    def fail(secret: str) -> None:
        raise RuntimeError("planted")

    with logged(form, logging.INFO) as lines:
        try:
            fail("MARK" * 2)
        except RuntimeError:
            logging.getLogger("aq").exception("it failed")
    text = "\n".join(lines)
    assert "Traceback" in text
    assert "RuntimeError: planted" in text
    assert "MARKMARK" not in text


def test_the_library_configures_no_logging_and_loads_nothing_for_it() -> None:
    code = (
        "import logging, sys, trio, aq\n"
        "async def main():\n"
        "    async with aq.open_engine(runner=run) as engine:\n"
        "        task = await engine.submit(aq.NewTask('q', 'http://a.example/', max_retries=0))\n"
        "        await engine.wait(task.id)\n"
        "async def run(delivery): return aq.Outcome.failure('no')\n"
        "trio.run(main)\n"
        "named = [logging.getLogger(name) for name in ['', *logging.root.manager.loggerDict]]\n"
        "print([it.name for it in named if it.handlers or it.level not in (0, 30)])\n"
        "print(sorted({'structlog', 'prometheus_client', 'opentelemetry', 'quart'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"
    assert done.stderr == ""


# -- aq serve -----------------------------------------------------------------------------------------------
async def test_the_server_logs_json_unless_it_has_a_terminal(tmp_path: Path) -> None:
    allowed = ["--storage", "memory:", "--allow", "127.0.0.0/8"]
    task = {"queue": "q", "webhook_url": "http://127.0.0.1:9/", "max_retries": 0}
    async with running(tmp_path, *allowed, AQ_API_KEY=KEY) as server, client(server.url) as api:
        made = (await api.post("/v1/tasks", json=task)).json()
        await api.get(f"/v1/tasks/{made['id']}?wait=20")
        server.terminate()
        await server.process.wait()
        await server.until_said("ending in good order")
    lines = objects(server.logged.splitlines())
    (attempt,) = [line for line in lines if line.get("task_id") == made["id"]]
    assert (attempt["error_type"], attempt["host"]) == ("connect", "127.0.0.1:9")
    assert {line["level"] for line in lines} == {"info"}


async def test_and_for_people_where_that_is_asked_for(tmp_path: Path) -> None:
    options = ["--storage", "memory:", "--log-format", "console", "--log-level", "debug"]
    async with running(tmp_path, *options, AQ_API_KEY=KEY) as server, client(server.url) as api:
        assert (await api.get("/v1/tasks")).status_code == 200
        await server.until_said("route=/v1/tasks")
    assert "\x1b" not in server.logged
