"""Schemathesis against a running server: what the OpenAPI document says holds for whatever is sent.

All its checks are made on every request, but for those that need several: ``use_after_free``,
``ensure_resource_availability`` and ``object_level_authorization`` find nothing to do here
(`tests.api.test_tasks_routes` and `tests.api.test_auth` have their cases). Left out are:

- ``GET /v1/events``: its answer has no end. `tests.api.test_events_routes` has it.
- the checks of undeclared methods on ``/v1/tasks/batch``: it is an address of ``/v1/tasks/{task_id}`` too, so
  GET and DELETE ask for a task of that name.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import pytest
import requests
import schemathesis
import trio
from attrs import frozen
from hypothesis import settings
from schemathesis.checks import allow_header_conformance, unsupported_method
from schemathesis.core import NotSet

from aq.rules import Rule, rules_of
from aq.slots import FIVE_FIELDS
from aq.target import DESTINATION_PATTERN, PATTERN
from aq.task import NewTask
from tests.api.api_world import KEY, open_api

TASK_RULES = rules_of(NewTask)
NOWHERE = "http://127.0.0.1:9/x"
"""Nobody listens there: what is delivered ends at once, and on this machine."""
TASK = {"queue": "seen", "webhook_url": NOWHERE}
MAKE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "task_id": ("/v1/tasks", {**TASK, "delay": 3600}),
    "schedule_id": ("/v1/schedules", {"task": TASK, "every": 3600}),
    "key_id": ("/v1/apikeys", {"name": "seen"}),
}
"""What a request that names one thing is to find."""
LONGEST_WAIT = 0.05
Case: TypeAlias = schemathesis.Case[Any]
OF_METHODS = [allow_header_conformance, unsupported_method]


# -- the server ---------------------------------------------------------------------------------------------
@frozen
class Server:
    url: str
    session: requests.Session

    def made(self, place: str) -> str:
        """The id of a new thing."""
        path, body = MAKE[place]
        answer = self.session.post(self.url + path, json=body, timeout=10)
        answer.raise_for_status()
        return str(answer.json()["id"])


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
            with requests.Session() as session:
                session.trust_env = False
                session.headers["X-API-Key"] = KEY
                session.post(f"{url}/v1/queues", json={"name": "seen"}, timeout=10).raise_for_status()
                yield Server(url, session)
        finally:
            process.terminate()
            process.communicate(timeout=10)


# -- the test -----------------------------------------------------------------------------------------------
async def document() -> dict[str, Any]:
    async with open_api() as api:
        return dict((await api.get("/openapi.json", key=None)).json)


CONFIG = schemathesis.Config.from_dict(
    {"seed": 1, "generation": {"mode": "all", "deterministic": True, "with-security-parameters": False}}
)
SCHEMA = schemathesis.openapi.from_dict(trio.run(document), config=CONFIG).exclude(operation_id=["events"])


@SCHEMA.parametrize()
@settings(max_examples=10, derandomize=True, database=None, deadline=None)
def test_the_api_does_as_it_says(case: Case, server: Server) -> None:
    aim(case, server)
    case.call_and_validate(
        base_url=server.url,
        headers={"X-API-Key": KEY},
        session=server.session,
        excluded_checks=OF_METHODS if case.path == "/v1/tasks/batch" else [],
    )


# -- from valid to meaningful -------------------------------------------------------------------------------
def aim(case: Case, server: Server) -> None:
    """Put what the schema allows into words that mean something; what it does not allow stays as it is."""
    if not isinstance(case.body, NotSet):
        case.body = aimed(case.body)
    if "Idempotency-Key" in case.headers and isinstance(case.body, dict):
        case.body = {name: value for name, value in case.body.items() if name != "idempotency_key"}
    for place, value in case.path_parameters.items():
        if place in MAKE and re.fullmatch(r"[a-z]+_[0-9A-Z]{26}", str(value)):
            case.path_parameters[place] = server.made(place)
        if place == "name" and re.fullmatch(r"[\w.-]{1,128}", str(value), re.ASCII):
            case.path_parameters[place] = "seen"
    if re.fullmatch(r"60(\.0)?|[1-5]?\d(\.\d+)?(e-\d+)?", str(case.query.get("wait")), re.ASCII):
        case.query["wait"] = LONGEST_WAIT
    if "destination" in case.query:
        case.query["destination"] = aimed(case.query["destination"], "destination")
    if 0 < len(str(case.query.get("cursor", ""))) <= 200:
        del case.query["cursor"]  # one that means something comes out of a page only


def aimed(value: Any, name: str = "") -> Any:
    """What rules ask for beyond the schema: an address on this machine, a time that comes, a zone."""
    if isinstance(value, dict):
        value = _apart(value) if name == "headers" else value
        return _together({name: aimed(inner, name) for name, inner in value.items()})
    if isinstance(value, list):
        return [aimed(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # to JSON Schema 5.0 is an integer, to our rules it is not
    if not isinstance(value, str):
        return value
    if name in ("webhook_url", "callback_url") and re.fullmatch(PATTERN, value):
        return NOWHERE
    if name == "destination" and re.fullmatch(DESTINATION_PATTERN, value):
        return NOWHERE.removesuffix("x")
    if name == "run_at" and accepts(TASK_RULES[name], value):
        return "2026-01-31T09:30:00Z"
    if name == "cron" and re.fullmatch(FIVE_FIELDS, value):
        return "30 9 * * *"
    return "UTC" if name == "timezone" else value


def _apart(headers: dict[str, Any]) -> dict[str, Any]:
    """A name is the same in capitals; of good headers with one name the last stays."""
    rule = TASK_RULES["headers"]
    kept = {
        (name.lower(), True) if accepts(rule, {name: value}) else (name, False): (name, value)
        for name, value in headers.items()
    }
    return dict(kept.values())


def _together(fields: dict[str, Any]) -> dict[str, Any]:
    """A task expires after its delay; a schedule that is there may not lose the one rhythm that it has."""
    if "delay" in fields and accepts(TASK_RULES["expires_in"], fields.get("expires_in")):
        fields.pop("expires_in", None)
    return {
        name: value for name, value in fields.items() if name not in ("cron", "every") or value is not None
    }


def accepts(rule: Rule, value: object) -> bool:
    try:
        rule.accept(value)
    except ValueError:
        return False
    return True
