"""The blocks of docs/clients.md: those that send as one program of a reader's, each receiver alone."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import pytest
import trio
from attrs import frozen

from aq.client import errors, sign_webhook
from tests.client.faces import service
from tests.docs.blocks import ROOT, blocks
from tests.server.serve_world import KEY

T = TypeVar("T")
SECRET = "whsec_" + "c2VjcmV0" * 6
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


def titled(title: str) -> str:
    """The block of that title."""
    (code,) = re.findall(rf'^```python title="{title}[^\n]*"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
    return str(code)


def receiver(title: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a block that receives with SECRET."""
    monkeypatch.setenv("AQ_SIGNING_SECRET", SECRET)
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(titled(title), names)
    return names


BODY = '{"task_id":"task_1","queue":"emails","payload":{"to":"ada@example.com"},"attempt":1}'
DONE = "send mail to ada@example.com for task_1\n"


def good() -> dict[str, str]:
    """Signed now: a signature holds for five minutes."""
    return sign_webhook(BODY, SECRET)


def bad() -> dict[str, str]:
    return sign_webhook(BODY + "\n", SECRET)


async def test_the_receiver_in_quart_and_its_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        names = receiver("Quart", monkeypatch)
        refused = asyncio.run(names["app"].test_client().post("/hooks/email", data=BODY, headers=bad()))
        assert refused.status_code == 401
        exec(titled("A test of a receiver"), names)
        asyncio.run(names["test_mail_is_sent"]())

    await trio.to_thread.run_sync(run)
    assert capsys.readouterr().out == DONE


def test_the_receiver_in_flask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    client = receiver("Flask", monkeypatch)["app"].test_client()
    assert client.post("/hooks/email", data=BODY, headers=bad()).status_code == 401
    assert client.post("/hooks/email", data=BODY, headers=good()).status_code == 204
    assert capsys.readouterr().out == DONE


async def test_the_receiver_in_fastapi(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FastAPI is no dependency of the tests: what the block uses of it stands in its place."""
    stand_in = ModuleType("fastapi")
    vars(stand_in).update(FastAPI=App, HTTPException=Refused, Request=Request)
    monkeypatch.setitem(sys.modules, "fastapi", stand_in)
    email = receiver("FastAPI", monkeypatch)["email"]
    with pytest.raises(Refused, match=r"401.*line end"):
        await email(Request(bad() | {"x": "y"}))
    await email(Request(good()))
    assert capsys.readouterr().out == DONE


class App:
    def post(self, path: str, *, status_code: int) -> Callable[[T], T]:
        assert (path, status_code) == ("/hooks/email", 204)
        return lambda handler: handler


class Refused(Exception):  # noqa: N818 - FastAPI's name is HTTPException
    pass


@frozen
class Request:
    headers: dict[str, str]

    async def body(self) -> bytes:
        return BODY.encode()


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
