"""``/docs``: a page that needs nothing from elsewhere, and nothing that its policy would have to allow."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from aq.api import docs
from tests.api.api_world import Api, check_problem, open_api

STATIC = Path(docs.__file__).parent / "static"


async def page(api: Api) -> str:
    reply = await api.get("/docs", key=None)
    assert reply.status == 200
    return reply.body.decode()


def places(text: str) -> list[str]:
    """What a page asks for."""
    return re.findall(r'(?:src|href)="([^"]*)"', text)


async def test_everything_it_asks_for_is_here() -> None:
    async with open_api() as api:
        found = places(await page(api))
        assert [place.rpartition("/")[2] for place in found if place.startswith("docs/")] == [
            "swagger-ui.css",
            "docs.css",
            "swagger-ui-bundle.js",
            "docs.js",
        ]
        for place in found:
            if place != "data:,":
                assert (await api.get(f"/{place}", key=None)).status == 200, place


async def test_nothing_is_inline_and_the_policy_says_so() -> None:
    async with open_api() as api:
        reply = await api.get("/docs", key=None)
        policy = dict(part.split(" ", 1) for part in reply.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in str(policy)
        text = reply.body.decode()
        assert re.findall(r"<script(?! src=)|<style|style=|\son\w+=", text) == []


def test_our_own_files_name_no_other_host() -> None:
    for name in ("docs.js", "docs.css"):
        assert "//" not in (STATIC / name).read_text()


@pytest.mark.parametrize("encoding", ["gzip", "identity", ""])
async def test_files_come_as_the_client_takes_them_and_may_be_kept(encoding: str) -> None:
    async with open_api() as api:
        (place,) = (it for it in places(await page(api)) if it.endswith("swagger-ui.css"))
        reply = await api.get(f"/{place}", key=None, headers={"Accept-Encoding": encoding})
        packed = reply.headers.get("Content-Encoding") == "gzip"
        assert packed is (encoding == "gzip")
        assert (gzip.decompress(reply.body) if packed else reply.body).startswith(b".swagger-ui")
        assert reply.headers["Vary"] == "Accept-Encoding"
        assert reply.headers["Content-Type"] == "text/css; charset=utf-8"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert "immutable" in reply.headers["Cache-Control"]


async def test_another_content_has_another_address() -> None:
    async with open_api() as api:
        (place,) = (it for it in places(await page(api)) if it.endswith("docs.js"))
        wrong = place.replace(place.split("/")[1], "0" * 16)
        check_problem(await api.get(f"/{wrong}", key=None), 404)
        check_problem(await api.get(f"/{place.replace('docs.js', 'README.md')}", key=None), 404)
        check_problem(await api.get(f"/{place}?x=1", key=None), 422)


def test_the_viewer_is_as_it_was_published() -> None:
    named = re.findall(r"`(\S+\.gz)` \| .* \| `([0-9a-f]{64})` \|", (STATIC / "README.md").read_text())
    assert {name for name, _ in named} == {path.name for path in STATIC.glob("*.gz")}
    for name, digest in named:
        assert hashlib.sha256(gzip.decompress((STATIC / name).read_bytes())).hexdigest() == digest
