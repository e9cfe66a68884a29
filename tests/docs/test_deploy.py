"""What is deployed by: each file is read as its program reads it, as far as that can be done without it.

No image is built here, and nothing is started by systemd or nginx: that takes their daemons.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import trio
import yaml
from packaging.requirements import Requirement

from aq.api.framing import MAX_BODY_BYTES
from aq.cli.serve import serve
from aq.server import Settings
from tests.docs.blocks import ROOT
from tests.docs.stories import free_port
from tests.server.serve_world import running

KNOWN: Final = {f"AQ_{parameter.name}".upper() for parameter in serve.params} | {
    "AQ_API_KEY",
    "AQ_SIGNING_SECRET",
}
UNIT: Final = ROOT / "deploy/systemd/aq.service"


def accepted(words: list[str]) -> dict[str, Any]:
    """The settings that a command line of ``aq serve`` gives. Raises UsageError for what it does not know."""
    assert words[:1] == ["serve"]
    return serve.make_context("serve", words[1:]).params


# -- the image ----------------------------------------------------------------------------------------------
def instructions() -> Iterator[tuple[str, str]]:
    lines = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, rest


def last_stage() -> dict[str, str]:
    """Of each kind the last one."""
    found = list(instructions())
    begin = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    return dict(found[begin:])


def test_what_the_image_is_made_of_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored, source
        if word == "RUN":
            for source in re.findall(r"requirements/\w+\.txt", rest):
                assert (ROOT / source).exists(), source
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {built["readme"], *built["license-files"], "aq", "pyproject.toml"} <= {it[1:] for it in ignored}
    assert not any(fnmatch("aq/server.py", pattern) for pattern in ignored[1:] if not pattern.startswith("!"))


def test_the_image_installs_nothing_that_is_not_pinned() -> None:
    installs = [part for word, rest in instructions() if word == "RUN" for part in rest.split("&&")]
    installs = [part for part in installs if "install " in part and "--directory" not in part]
    assert len(installs) == 3
    *pinned, ours = installs
    assert all("--require-hashes -r requirements/" in part for part in pinned)
    assert "--no-deps dist/*.whl" in ours
    assert any(
        "uv build" in rest and "--build-constraint requirements/all.txt" in rest for _, rest in instructions()
    )


def test_what_the_service_needs_is_pinned_in_the_versions_that_are_tested_and_no_more() -> None:
    run, tested = pins("run.txt"), pins("all.txt")
    assert run.items() <= tested.items()
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = names([*told["project"]["dependencies"], *told["project"]["optional-dependencies"]["otel"]])
    assert needed <= run.keys()
    by_others = {"requests"}  # development asks for it, and so does what exports spans
    assert (names(told["dependency-groups"]["dev"]) - needed) & run.keys() <= by_others


def pins(name: str) -> dict[str, str]:
    """What a file of requirements/ pins, by name."""
    return dict(
        re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE)
    )


def names(asked: list[str]) -> set[str]:
    """Of what pyproject.toml asks for."""
    return {Requirement(line).name.lower() for line in asked}


def test_the_image_runs_as_nobody_special_and_ends_in_good_order() -> None:
    last = last_stage()
    assert last["USER"] == "aq"
    assert f"--no-create-home {last['USER']} " in last["RUN"]
    assert last["STOPSIGNAL"] == "SIGTERM"
    environment = dict(word.split("=", 1) for word in shlex.split(last["ENV"]))
    assert {name for name in environment if name.startswith("AQ_")} <= KNOWN
    assert environment["AQ_STORAGE"].startswith(f"sqlite:///{last['VOLUME']}/")
    assert environment["AQ_PORT"] == last["EXPOSE"]
    assert json.loads(last["ENTRYPOINT"]) == ["aq"]
    accepted(json.loads(last["CMD"]))


async def test_the_health_check_of_the_image_tells_health(tmp_path: Path) -> None:
    python, *words = json.loads(last_stage()["HEALTHCHECK"].partition(" CMD ")[2])
    assert python == "python"
    for_nobody = {"AQ_PORT": str(free_port())}
    async with running(tmp_path, "--dev") as server:
        port = server.url.rpartition(":")[2]
        for environment, healthy in (({"AQ_PORT": port}, True), (for_nobody, False)):
            done = await trio.run_process(
                [sys.executable, *words], env=environment, check=False, capture_stderr=True
            )
            assert (done.returncode == 0) is healthy, done.stderr


def test_compose_agrees_with_the_image() -> None:
    told = yaml.safe_load((ROOT / "compose.yaml").read_text())
    ((_, service),) = told["services"].items()
    last = last_stage()
    (port,) = service["ports"]
    assert port == f"127.0.0.1:8080:{last['EXPOSE']}"
    (volume,) = service["volumes"]
    assert volume == f"{next(iter(told['volumes']))}:{last['VOLUME']}"
    assert set(service["environment"]) <= KNOWN
    assert all(value.startswith(f"${{{name}:?") for name, value in service["environment"].items())
    assert int(service["stop_grace_period"].rstrip("s")) > Settings().grace
    assert (ROOT / service["build"] / "Dockerfile").exists()


# -- systemd ------------------------------------------------------------------------------------------------
def unit() -> dict[str, dict[str, str]]:
    """The last of each name, as far as names are given several times."""
    parser = ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # so it is documented
    parser.read_string(UNIT.read_text())
    return {name: dict(parser[name]) for name in parser.sections()}


def test_the_unit_gives_more_time_than_the_attempts_get() -> None:
    service = unit()["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program == "/opt/aq/bin/aq"
    assert words == ["serve", "--config", "/etc/aq/aq.toml"]
    settings = accepted(["serve", "--config", str(ROOT / "deploy/aq.toml")])
    assert int(service["TimeoutStopSec"]) > settings["grace"] >= 0
    assert settings["storage"] == f"sqlite:////var/lib/{service['StateDirectory']}/aq.db"
    assert service["User"] == "aq"
    assert service["StateDirectoryMode"] == "0700"
    assert "@resources" not in UNIT.read_text()  # the service raises its own limit of open files


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """As ``systemd-analyze`` says, where there is one; its lines are of sections and have names."""
    copy = tmp_path / "aq.service"
    copy.write_text(UNIT.read_text().replace("/opt/aq/bin/aq", sys.executable))
    assert set(unit()) == {"Unit", "Service", "Install"}
    if analyze := shutil.which("systemd-analyze"):
        done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
        assert (done.returncode, str(copy) in done.stderr) == (0, False), done.stderr


# -- nginx --------------------------------------------------------------------------------------------------
def directives(text: str) -> Any:
    """What nginx would read: ``[(words, inner or None)]``. Raises AssertionError where it could not."""
    tokens = re.findall(r"[{};]|\"[^\"]*\"|[^\s{};]+", re.sub(r"#.*", "", text))

    def block(place: int, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        words: list[str] = []
        while place < len(tokens):
            token, place = tokens[place], place + 1
            if token == ";":
                assert words
                found.append((words, None))
                words = []
            elif token == "{":
                inner, place = block(place, depth + 1)
                found.append((words, inner))
                words = []
            elif token == "}":
                assert depth
                assert not words
                return found, place
            else:
                words.append(token)
        assert not depth
        assert not words
        return found, place

    return block(0, 0)[0]


def test_nginx_passes_what_the_service_takes() -> None:
    told = directives((ROOT / "deploy/nginx.conf").read_text())
    (upstream, inner), (_, server) = told
    assert upstream == ["upstream", "aq"]
    assert (["server", "127.0.0.1:8080"], None) in inner
    plain = {words[0]: words[1:] for words, below in server if below is None}
    assert plain["client_max_body_size"] == [f"{MAX_BODY_BYTES >> 20}m"]
    assert int(plain["proxy_read_timeout"][0].rstrip("s")) > 60  # ?wait= may be as long
    places = {words[-1]: {it[0]: it[1:] for it, _ in below} for words, below in server if below is not None}
    assert places["/"]["proxy_pass"] == ["http://aq"]
    assert places["/v1/events"]["proxy_buffering"] == ["off"]
    assert places["/metrics"] == {"deny": ["all"]}
