"""``.aq.env``: what a development server leaves for the command, and when that is not believed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click
import pytest
import trio

from aq.cli import service
from aq.devfile import KEY, NAME, SECRET, URL, DevFileError, kept, read
from tests.server.serve_world import KEY as OWN_KEY
from tests.server.serve_world import running, serving

VALUES = {URL: "http://127.0.0.1:8123", KEY: "aq_live_x", SECRET: "whsec_x"}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / NAME


async def test_a_development_server_leaves_its_address_key_and_secret_until_it_ends(path: Path) -> None:
    async with running(path.parent, "--dev") as server:
        values = read(path)
        assert (values[URL], values[KEY]) == (server.url, server.key)
        assert values[SECRET].startswith("whsec_")
        assert values[SECRET] not in server.said + server.logged
        assert mode_of(path) == 0o600
    assert read(path) == {}


async def test_what_the_operator_gave_is_written_nowhere(path: Path) -> None:
    given = {"api_key": OWN_KEY, "signing_secret": "whsec_" + "c2VjcmV0" * 4}
    async with serving(dev=True, dev_file=path, storage="memory:", **given) as server:
        assert read(path) == {URL: server.url}


async def test_a_server_that_is_none_for_development_writes_none(path: Path) -> None:
    async with running(path.parent):
        assert read(path) == {}


async def test_of_two_servers_in_one_folder_the_later_is_found(path: Path) -> None:
    options = (path.parent, "--dev", "--storage", "memory:")
    async with running(*options) as first, running(*options) as second:
        first.terminate()
        assert await first.process.wait() == 0
        assert read(path)[URL] == second.url
    assert read(path) == {}


async def test_one_that_was_killed_leaves_a_file_that_the_next_replaces(path: Path) -> None:
    async with running(path.parent, "--dev") as first:
        first.process.send_signal(signal.SIGKILL)
        await first.process.wait()
        assert read(path)[URL] == first.url
    async with running(path.parent, "--dev") as second:
        assert read(path)[URL] == second.url


async def test_somebodys_own_file_stays_and_that_is_told(path: Path) -> None:
    own = trio.Path(path)
    await own.write_text("MINE=1\n")
    async with serving(dev=True, dev_file=path, storage="memory:") as server:
        assert "it stays as it is" in server.said
    assert await own.read_text() == "MINE=1\n"


def test_one_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(DevFileError, match="cannot write"), kept(tmp_path / "none" / NAME, VALUES):
        pass


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_one_that_others_may_read_or_write_is_not_believed(path: Path, mode: int) -> None:
    with kept(path, VALUES):
        path.chmod(mode)
        with pytest.raises(DevFileError, match="chmod 600"):
            read(path)


def test_one_that_is_no_file_or_names_another_machine_is_not_believed(path: Path) -> None:
    path.symlink_to("elsewhere")
    with pytest.raises(DevFileError, match="remove it"):
        read(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(DevFileError, match="remove it"):
        read(path)
    path.unlink()
    with kept(path, {**VALUES, URL: "http://example.com"}), pytest.raises(DevFileError, match="remove it"):
        read(path)


def test_without_anything_given_its_server_is_the_one(path: Path) -> None:
    with kept(path, VALUES):
        assert service.address(None, None) == (VALUES[URL], VALUES[KEY])
        assert service.address(None, "aq_live_own") == (VALUES[URL], "aq_live_own")
        assert service.address(VALUES[URL] + "/", None) == (VALUES[URL], VALUES[KEY])


def test_its_key_goes_nowhere_else(path: Path) -> None:
    with kept(path, VALUES), pytest.raises(click.UsageError, match="no API key for http://127"):
        service.address("http://127.0.0.1:9999", None)


def test_without_it_there_is_the_usual_port_and_a_key_must_be_given(path: Path) -> None:
    assert service.address(None, "aq_live_own") == ("http://127.0.0.1:8080", "aq_live_own")
    with pytest.raises(click.UsageError, match="AQ_API_KEY"):
        service.address(None, None)


def test_one_that_is_not_believed_matters_only_where_it_is_needed(path: Path) -> None:
    path.write_text("AQ_URL=http://127.0.0.1:1\n")
    path.chmod(0o644)
    assert service.address("http://a.example", "aq_live_own") == ("http://a.example", "aq_live_own")
    with pytest.raises(click.UsageError, match="chmod 600"):
        service.address(None, "aq_live_own")


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777
