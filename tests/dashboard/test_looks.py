"""Every page, wide and narrow, light and dark: nothing stands out of the window, and axe finds nothing."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.dashboard.conftest import Open
from tests.dashboard.looking import NARROW, THEMES, WIDE, Watch, inaccessible, too_wide
from tests.dashboard.receiver import Target
from tests.dashboard.scenes import Scenes, play
from tests.dashboard.served import Served


@pytest.fixture(scope="module")
def scenes(server: Served, target: Target) -> Scenes:
    return play(server, target)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_page(
    scenes: Scenes, open_page: Open, watch: Watch, width: int, theme: Literal["light", "dark"]
) -> None:
    page = open_page(width=width, theme=theme)
    wrong = {}
    for path in (*scenes.paths.values(), *scenes.others):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        page.wait_for_load_state()
        wrong[path] = [*too_wide(page), *inaccessible(page)]
    assert {path: found for path, found in wrong.items() if found} == {}


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("path", ["/", "/queues", "/tasks", "/failures", "/schedules", "/keys"])
def test_where_there_is_nothing_yet_a_page_says_what_to_do(
    server: Served, open_page: Open, watch: Watch, path: str, width: int
) -> None:
    """A key for a queue that is not there sees nothing of what others do."""
    scopes = ["read", "admin"]
    key = server.post("/apikeys", {"name": "nobody", "queues": ["unheard"], "scopes": scopes})["key"]
    page = open_page(path, width=width, key=key)
    assert [*too_wide(page), *inaccessible(page)] == []
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_pages_before_and_beside_the_others(
    open_page: Open, watch: Watch, width: int, theme: Literal["light", "dark"]
) -> None:
    """What is not there, the list of keys, a paused page, and the way in."""
    watch.expected = ("404",)
    page = open_page("/queues/unheard", width=width, theme=theme)
    assert [*too_wide(page), *inaccessible(page)] == []
    page.keyboard.press("?")
    page.locator("#help[open]").wait_for()
    assert [*too_wide(page), *inaccessible(page)] == []
    page.keyboard.press("?")
    page.keyboard.press("r")
    page.get_by_text("nothing on this page moves").wait_for()
    assert [*too_wide(page), *inaccessible(page)] == []
    page.context.clear_cookies()
    page.goto("/signin")
    assert [*too_wide(page), *inaccessible(page)] == []


def test_what_a_key_may_not_see_is_said(server: Served, open_page: Open, watch: Watch) -> None:
    key = server.post("/apikeys", {"name": "writer", "scopes": ["write"]})["key"]
    watch.expected = ("403",)
    page = open_page(key=key)
    for path in ("/tasks", "/failures", "/schedules"):
        page.goto(path)
        assert "scope read" in page.locator("main").inner_text()
        assert inaccessible(page) == []
