"""Schemathesis against a running server: what the OpenAPI document says holds for whatever is sent.

Every check that schemathesis has is made, but for

- ``unsupported_method``, ``use_after_free`` and ``object_level_authorization``, which need more than one
  request; `tests.api.test_errors`, `tests.api.test_tasks_routes` and `tests.api.test_auth` have them.

``GET /v1/events`` is left out: its answer has no end.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
import schemathesis
import trio
from attrs import frozen
from hypothesis import assume, settings
from schemathesis.core import NotSet
from schemathesis.core.parameters import ParameterLocation

from aq.rules import Moment, Rule, rules_of
from aq.slots import FIVE_FIELDS
from aq.target import PATTERN
from aq.task import NewTask
from tests.api.api_world import KEY, open_api

NOWHERE = "http://127.0.0.1:9/x"
"""Nobody listens there: what is delivered ends at once, and on this machine."""
TASK = {"queue": "seen", "webhook_url": NOWHERE}
LONGEST_WAIT = 0.05
RHYTHM = ("cron", "every")
"""Of a schedule that is there, null may take away the only one."""
EXPIRES_IN = rules_of(NewTask)["expires_in"]
MAKE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "task_id": ("/v1/tasks", {**TASK, "delay": 3600}),
    "schedule_id": ("/v1/schedules", {"task": TASK, "every": 3600}),
    "key_id": ("/v1/apikeys", {"name": "seen"}),
}
"""What a case that names one thing is to find."""


@frozen
class Server:
    url: str
    client: httpx.Client

    def made(self, place: str) -> str:
        """The id of a new thing."""
        path, body = MAKE[place]
        return str(self.client.post(path, json=body).raise_for_status().json()["id"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``aq serve --dev`` as a process of its own, ended with SIGTERM."""
    command = [sys.executable, "-m", "aq", "serve", "--dev", "--port", "0", "--storage", "memory:"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AQ_")}
    with subprocess.Popen(
        [*command, "--grace", "0"],
        cwd=tmp_path_factory.mktemp("server"),
        env={**clean, "AQ_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            url = str(re.findall(r"http://\S+", process.stdout.readline())[0])
            with httpx.Client(base_url=url, headers={"X-API-Key": KEY}, trust_env=False) as client:
                client.post("/v1/queues", json={"name": "seen"}).raise_for_status()
                yield Server(url, client)
        finally:
            process.terminate()
            process.communicate(timeout=10)


async def document() -> dict[str, Any]:
    async with open_api() as api:
        return dict((await api.get("/openapi.json", key=None)).json)


CONFIG = schemathesis.Config.from_dict(
    {"seed": 1, "generation": {"mode": "all", "deterministic": True, "with-security-parameters": False}}
)
SCHEMA = schemathesis.openapi.from_dict(trio.run(document), config=CONFIG).exclude(operation_id=["events"])


@SCHEMA.parametrize()
@settings(max_examples=25, derandomize=True, database=None, deadline=None)
def test_the_api_does_as_it_says(case: schemathesis.Case, server: Server) -> None:
    aim(case, server)
    r = case.call_and_validate(base_url=server.url, headers={"X-API-Key": KEY})
    from collections import Counter
    STAT.setdefault(case.operation.label, Counter())[r.status_code] += 1


STAT = {}
def teardown_module():
    for k, v in STAT.items(): print(k, dict(v))


def aim(case: schemathesis.Case, server: Server) -> None:
    """Put what the schema allows into words that mean something; what it does not allow stays as it is."""
    if isinstance(case.body, NotSet):
        assume(not wrong_for_its_body_alone(case))
    case.body = aimed(case.body)
    if "Idempotency-Key" in case.headers and isinstance(case.body, dict):
        case.body = {name: value for name, value in case.body.items() if name != "idempotency_key"}
    for place, value in case.path_parameters.items():
        if place in MAKE and re.fullmatch(r"[a-z]+_[0-9A-Z]{26}", str(value)):
            case.path_parameters[place] = server.made(place)
        if place == "name" and re.fullmatch(r"[\w.-]{1,128}", str(value), re.ASCII):
            case.path_parameters[place] = "seen"
    if re.fullmatch(r"60|[1-5]?\d(\.\d+)?(e-\d+)?", str(case.query.get("wait")), re.ASCII):
        case.query["wait"] = LONGEST_WAIT
    if isinstance(case.query.get("cursor"), str) and 0 < len(case.query["cursor"]) <= 200:
        del case.query["cursor"]  # one that means something comes out of a page only


def wrong_for_its_body_alone(case: schemathesis.Case) -> bool:
    """Schemathesis calls a missing body wrong, also where none is needed."""
    meta = case.meta
    if meta is None or meta.generation.mode.is_positive:
        return False
    return all(it.mode.is_positive for place, it in meta.components.items() if place != ParameterLocation.BODY)


def accepted(rule: Rule, value: object) -> bool:
    try:
        rule.accept(value)
    except ValueError:
        return False
    return True


def aimed(value: Any, name: str = "") -> Any:
    """What the rules ask for beyond the schema: an address on this machine, a time that comes, a zone."""
    if isinstance(value, dict):
        found = {name: aimed(inner, name) for name, inner in value.items()}
        if "delay" in found and accepted(EXPIRES_IN, found.get("expires_in")):
            found.pop("expires_in", None)  # it has to be the longer one
        return {name: inner for name, inner in found.items() if name not in RHYTHM or inner is not None}
    if isinstance(value, list):
        return [aimed(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # to JSON Schema 5.0 is an integer, to our rules it is not
    if not isinstance(value, str):
        return value
    if name in ("webhook_url", "callback_url") and re.fullmatch(PATTERN, value):
        return NOWHERE
    if name == "run_at" and accepted(Moment(), value):
        return "2026-01-31T09:30:00Z"
    if name == "cron" and re.fullmatch(FIVE_FIELDS, value):
        return "30 9 * * *"
    return "UTC" if name == "timezone" else value
