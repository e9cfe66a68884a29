"""Every block of docs/clients.md, in order, as one program of a reader's."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio

from aq.client import errors
from tests.client.faces import service
from tests.server.serve_world import KEY
from tests.test_docs import ROOT, blocks

PAGE = (ROOT / "docs/clients.md").read_text()


async def test_every_block_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async with service() as server:
        monkeypatch.setenv("AQ_URL", server.url)
        monkeypatch.setenv("AQ_API_KEY", KEY)
        code = "\n".join(blocks(PAGE, "python")).replace("http://127.0.0.1:8080", server.url)
        names: dict[str, Any] = {}
        await trio.to_thread.run_sync(exec, code.replace("aq_live_…", KEY), names)
    shown = capsys.readouterr().out
    assert shown.startswith("completed [200]\nTask(id='task_")
    assert "priority must be an integer from 1 to 10\n" in shown


def test_every_error_is_in_its_table() -> None:
    known = {name for name, it in vars(errors).items() if isinstance(it, type) and issubclass(it, Exception)}
    told = set(re.findall(r"`(\w+)`", PAGE.partition("## Errors")[2].partition("They are in")[0]))
    assert known <= told
    statuses = {
        int(status): name
        for name, listed in re.findall(r"^\| `(\w+)` \| ([\d, ]+) \|", PAGE, re.MULTILINE)
        for status in listed.split(",")
    }
    for status, kind in errors.BY_STATUS.items():
        assert statuses[status] == kind.__name__
