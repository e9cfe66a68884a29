"""A browser, a server, a receiver, and pages that are watched. Chromium is provided before the first test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.dashboard import chromium
from tests.dashboard.looking import HEIGHTS, WIDE, Watch
from tests.dashboard.receiver import Target, receiving
from tests.dashboard.served import Served, serving

HERE = Path(__file__).parent
PATIENCE: Final = 30_000
"""Milliseconds for whatever a browser is waited for, on a machine that is busy."""


class Open(Protocol):
    """Opens a window that is signed in, and a page of the dashboard in it."""

    def __call__(
        self,
        path: str = "/",
        *,
        width: int = WIDE,
        theme: Literal["light", "dark"] = "light",
        key: str | None = None,
    ) -> Page:
        """``key`` is who signs in; nothing is said of it: the server's own, who may do everything."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """An installation takes longer than a test may."""
    if not session.config.option.collectonly and any(HERE in item.path.parents for item in session.items):
        chromium.provide(session.config.get_terminal_writer().line)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """For this package alone: while it is there, no event loop of asyncio can run in this thread."""
    path = chromium.find()
    if path is None:
        pytest.fail(chromium.MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(scope="package")
def target() -> Iterator[Target]:
    with receiving() as target:
        yield target


@pytest.fixture
def watch(server: Served) -> Iterator[Watch]:
    """What went wrong in the test's pages: nothing, or the test fails."""
    watch = Watch(server.url)
    yield watch
    assert watch.wrong == []


@pytest.fixture
def open_page(browser: Browser, server: Served, watch: Watch) -> Iterator[Open]:
    contexts: list[BrowserContext] = []

    def open_page(
        path: str = "/",
        *,
        width: int = WIDE,
        theme: Literal["light", "dark"] = "light",
        key: str | None = None,
    ) -> Page:
        context = browser.new_context(
            base_url=server.url,
            viewport={"width": width, "height": HEIGHTS[width]},
            color_scheme=theme,
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="Europe/Berlin",
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        watch.over(context)
        page = context.new_page()
        sign_in(page, server.key if key is None else key)
        if path != "/":
            page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()


def sign_in(page: Page, key: str) -> None:
    """As a person does it."""
    page.goto("/signin")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("/")
