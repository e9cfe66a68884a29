"""The pages: rendered for empty and full stores, hardened, small, and never more than text from outside."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aq.dashboard import assets
from aq.dashboard.assets import NAMES
from aq.dashboard.shell import NAV, POLICY
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.task import Environment, NewTask, Status
from tests.api.api_world import URL, Api
from tests.dashboard.world import Browser, Page, open_dashboard, signed_in

STATIC = Path(assets.__file__).parent / "static"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&{{7*7}}"
FIRST_VISIT = 60_000
"""Bytes, compressed: the overview with everything that it loads."""


@asynccontextmanager
async def full() -> AsyncIterator[tuple[Api, Browser]]:
    """Tasks in each state, in several queues, with texts that want to be more than text."""
    async with signed_in(dev=True) as (api, browser):
        failure = Outcome(
            status=AttemptStatus.FAILURE,
            error_type=ErrorType.HTTP_5XX,
            error=EVIL,
            response_code=500,
            response_body=EVIL.encode(),
        )
        api.runner.outcomes = [failure]
        api.runner.go.set()
        failing = await api.engine.submit(
            NewTask("mail", URL, {"text": EVIL}, max_retries=0, tags=(EVIL[:40],))
        )
        await api.engine.wait(failing.id)
        done = await api.engine.submit(NewTask("mail", URL, {}))
        await api.engine.wait(done.id)
        await api.engine.submit(NewTask("later", URL, {}, delay=3_600))
        await api.engine.queues.create("idle", paused=True, rate_limit={"per_second": 2})
        await api.engine.keys.create(EVIL[:90], scopes=["read"], queues=["mail"], rate_limit_per_minute=60)
        key, _ = await api.engine.keys.create("gone", environment=Environment.TEST)
        await api.engine.keys.revoke(key.id)
        await api.engine.schedules.create(cron="0 9 * * *", task={"queue": "mail", "webhook_url": URL})
        yield api, browser


async def test_every_page_of_the_rail_opens_on_an_empty_store() -> None:
    async with signed_in(dev=True) as (_, browser):
        for entry in NAV:
            page = await browser.get(entry.path)
            assert page.status == 200, page.text
            assert 'aria-current="page"' in page.text
            assert 'class="empty"' in page.text, entry.path


async def test_every_page_of_the_rail_opens_on_a_full_store() -> None:
    async with full() as (_, browser):
        for path in (*(entry.path for entry in NAV), "/?window=86400", "/queues/mail", "/queues/idle"):
            page = await browser.get(path)
            assert page.status == 200, page.text
            assert 'class="empty"' not in page.text, path


async def test_what_comes_from_outside_is_text_and_nothing_else() -> None:
    async with full() as (_, browser):
        seen = 0
        for path in (*(entry.path for entry in NAV), "/queues/mail"):
            page = await browser.get(path)
            seen += "<script>alert(1)" in page.words
            tags = " ".join(re.findall(r"<[^>]*>", re.sub(r'="[^"]*"', "=", page.text)))
            assert re.findall(r"<script(?! src=)|<style|\sstyle=|\son\w+=|<img", tags) == [], path
            assert "javascript:" not in page.text
        assert seen


async def test_every_answer_has_the_headers_that_keep_it_to_itself() -> None:
    async with full() as (_, browser):
        places = (*browser_places(await browser.get("/")), "/queues", "/queues/none", "/series", "/signin")
        for path in places:
            page = await browser.get(path)
            assert page.headers["Content-Security-Policy"] == POLICY, path
            assert page.headers["X-Content-Type-Options"] == "nosniff"
            assert page.headers["Referrer-Policy"] == "same-origin"
            kept = "immutable" if path.startswith("/assets/") else "no-store"
            assert kept in page.headers["Cache-Control"], path


def test_the_policy_allows_nothing_inline_and_nobody_else() -> None:
    assert POLICY == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


async def test_a_first_visit_stays_under_60_kb() -> None:
    async with full() as (_, browser):
        page = await browser.get("/")
        loaded = {*browser_places(page), *browser_places(await browser.get("/tasks"))}
        assert {place.rpartition("/")[2] for place in loaded} == set(NAMES)
        packed = {"Accept-Encoding": "gzip"}
        size = 0
        for place in ("/", *loaded):
            got = await browser.get(place, headers=packed)
            assert got.headers["Content-Encoding"] == "gzip"
            size += len(got.body)
        assert size < FIRST_VISIT, size


async def test_assets_need_no_session_are_kept_for_good_and_asked_for_by_tag() -> None:
    async with open_dashboard() as api:
        browser = Browser(api)
        [place] = [it for it in browser_places(await browser.get("/signin")) if it.endswith("aq.css")]
        page = await browser.get(place)
        assert page.headers["Content-Type"] == "text/css; charset=utf-8"
        again = await browser.get(place, headers={"If-None-Match": page.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
        assert (await browser.get(re.sub("/[0-9a-f]{16}/", f"/{'0' * 16}/", place))).status == 404
        assert (await browser.get("/assets/x/../shell.py")).status == 404
        assert (await browser.get("/favicon.ico")).headers["Content-Type"] == "image/svg+xml"


def test_the_libraries_are_as_they_were_published() -> None:
    named = re.findall(r"`(\S+\.gz)` \| .* \| `([0-9a-f]{64})` \|", (STATIC / "README.md").read_text())
    assert {name for name, _ in named} == {path.name for path in STATIC.glob("*.gz")}
    for name, digest in named:
        assert hashlib.sha256(gzip.decompress((STATIC / name).read_bytes())).hexdigest() == digest


def test_our_own_files_name_no_other_host() -> None:
    for name in ("aq.js", "plots.js", "aq.css"):
        assert "://" not in (STATIC / name).read_text()


async def test_the_overview_shows_the_latest_failures_and_a_queue_leads_to_its_tasks() -> None:
    async with full() as (api, browser):
        [failed] = (await api.engine.list(status=Status.FAILED)).tasks
        page = await browser.get("/")
        assert f"/tasks/{failed.id}" in page.links()
        assert "http_5xx" in page.words
        links = (await browser.get("/queues/mail")).links()
        places = {link for link in links if link.startswith(("/tasks?", "/failures/"))}
        assert {
            "/tasks?queue=mail",
            "/tasks?queue=mail&status=pending",
            "/tasks?queue=mail&status=completed",
            "/tasks?queue=mail&status=failed",
            "/failures/retry?queue=mail",
        } <= places
        for place in sorted(places):
            assert (await browser.get(place)).status == 200, place


async def test_a_problem_is_told_on_a_page() -> None:
    async with signed_in() as (_, browser):
        page = await browser.get("/queues/none")
        assert page.status == 404
        assert page.headers["Content-Type"].startswith("text/html")
        assert "There is no queue none" in page.words
        assert (await browser.get("/?window=1")).status == 422
        assert (await browser.get("//queues/none")).status == 404  # refused before the dashboard is asked


async def test_a_notice_is_told_once() -> None:
    async with full() as (_, browser):
        page = await browser.post("/queues/mail/pause")
        assert page.headers["Location"] == "/queues/mail"
        told = "mail is paused"
        refreshed = await browser.get("/queues/mail", headers={"HX-Request": "true"})
        assert told not in refreshed.words  # a region that is fetched again does not swallow it
        assert told in (await browser.get("/queues/mail")).words
        assert told not in (await browser.get("/queues/mail")).words


@pytest.mark.parametrize(("status", "failed"), [("200", 0), ("500", 1)])
async def test_a_development_server_sends_a_test_task(status: str, failed: int) -> None:
    async with signed_in(dev=True) as (api, browser):
        assert (await browser.post("/try", status=status)).status == 303
        [task] = (await api.engine.list(queue="hello")).tasks
        assert task.webhook_url == "http://localhost/dev/receiver" + "?status=500" * failed
    async with signed_in() as (_, browser):
        assert (await browser.post("/try")).status in (404, 405)


async def test_series_are_those_of_the_api() -> None:
    async with full() as (api, browser):
        shown = json.loads((await browser.get("/series?window=3600&queue=mail")).body)
        told = (await api.get("/v1/stats?window=3600&queue=mail")).json
        assert shown == told
        assert sum(point["failed"] for point in shown["series"]) == 1


def browser_places(page: Page) -> list[str]:
    """What a browser loads for a page."""
    return re.findall(r'(?:src|href)="(/assets/[^"]*)"', page.text)
