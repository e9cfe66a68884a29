"""``pip install asyncqueue``: all that the service needs is in the wheel, and nothing else is needed."""

from __future__ import annotations

import re
import subprocess
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from aq.version import __version__
from tests.packaging.clean import ROOT, Environment, built, clean
from tests.server.serve_world import client, running


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return clean(tmp_path_factory.mktemp("clean"), wheel)


def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


# -- what is in it ------------------------------------------------------------------------------------------
def test_it_has_every_file_of_the_package_and_nothing_beside(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "aq").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == there
    assert "aq/py.typed" in names
    assert any(name.startswith("aq/storage/migrations/") and name.endswith(".sql") for name in names)
    assert any(name.startswith("aq/dashboard/static/") for name in names)


def test_its_metadata_is_complete(wheel: Path) -> None:
    told = metadata(wheel)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (told["Name"], told["Version"]) == ("asyncqueue", __version__)
    assert told["Summary"] == project["description"]
    assert told["License-Expression"] == "MIT"
    assert told["License-File"] == "LICENSE"
    assert told["Requires-Python"] == project["requires-python"]
    assert told["Author"]
    assert told["Description-Content-Type"] == "text/markdown"
    assert "# AsyncQueue" in str(told.get_payload())
    assert told.get_all("Provides-Extra") == ["otel"]
    assert len(told.get_all("Classifier", [])) == len(project["classifiers"])
    assert len(told["Keywords"].split(",")) == len(project["keywords"])


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "aq/version.py"
    newest = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__


def test_the_sdist_is_the_source_and_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = built("sdist", ROOT, tmp_path / "sdist")
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)
    (source,) = tmp_path.glob("asyncqueue-*")
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "Makefile", "aq", "tests", "docs", "requirements"):
        assert (source / name).exists(), name
    assert not {".git", ".venv", "site", "dist", "aq.db"} & {path.name for path in source.iterdir()}
    again = built("wheel", source, tmp_path / "wheel")
    with ZipFile(wheel) as one, ZipFile(again) as other:
        sums = [{info.filename: info.CRC for info in archive.infolist()} for archive in (one, other)]
    assert sums[0] == sums[1]


# -- whether it works ---------------------------------------------------------------------------------------
def test_it_is_imported_from_where_it_was_installed(installed: Environment) -> None:
    code = "import aq, sys; print(aq.__file__); print([path for path in sys.path if 'packages' in path])"
    file, path = installed.run("python", "-c", code).splitlines()
    assert Path(file) == installed.packages / "aq/__init__.py"
    assert path == f"[{str(installed.packages)!r}]"


def test_the_command_is_there_and_every_part_of_it_answers(installed: Environment) -> None:
    assert installed.run("aq", "--version") == f"aq {__version__}\n"
    listed = re.findall(r"^  ([a-z]+) +[A-Z]", installed.run("aq", "--help"), re.MULTILINE)
    assert {"serve", "doctor"} <= set(listed)
    for command in listed:
        assert f"aq {command}" in installed.run("aq", command, "--help")


def test_every_module_is_imported_with_what_the_wheel_asks_for(installed: Environment) -> None:
    """But for what needs the extra, and what is run as a program."""
    code = (
        "import importlib, pkgutil, aq\n"
        "for found in pkgutil.walk_packages(aq.__path__, 'aq.'):\n"
        "    if not found.name.endswith('__main__'):\n"
        "        try:\n"
        "            importlib.import_module(found.name)\n"
        "        except ImportError as error:\n"
        "            print(found.name, error.name)\n"
    )
    failed = dict(line.split() for line in installed.run("python", "-c", code).splitlines())
    allowed = {"pytest"} | {name for name in failed.values() if name.startswith("opentelemetry")}
    assert set(failed.values()) <= allowed, failed


async def test_it_serves_all_that_it_has(installed: Environment, tmp_path: Path) -> None:
    command = [str(installed.bin / "aq"), "serve", "--dev", "--port", "0"]
    async with running(tmp_path, command=command, PYTHONPATH="") as server, client(server.url) as asking:
        asking.headers["X-API-Key"] = server.key
        assert (await asking.get("/readyz")).json()["status"] == "ready"
        hook = {"queue": "hello", "webhook_url": f"{server.url}/dev/receiver"}
        made = (await asking.post("/v1/tasks", json=hook)).json()
        task = (await asking.get(f"/v1/tasks/{made['id']}", params={"wait": 20})).json()
        assert task["status"] == "completed"
        for path in ("/docs", "/"):
            page = await asking.get(path, follow_redirects=True)
            assert page.status_code == 200, path
            files = re.findall(r'(?:src|href)="([^"#:]+\.(?:css|js|svg)[^"]*)"', page.text)
            assert len(files) >= 2, page.text
            for file in files:
                got = await asking.get(str(page.url.join(file)))
                assert (got.status_code, bool(got.content)) == (200, True), file
    assert (tmp_path / "aq.db").exists()
