"""What an open page asks for: one page for all of its parts, and only while something happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest
from playwright.sync_api import Page, Request, Response, expect

from tests.dashboard.conftest import Open
from tests.dashboard.receiver import Target
from tests.dashboard.served import Served

QUIET: Final = {"late": 0, "due": 2, "in_flight": 0, "at": "2030-01-01T00:00:00Z"}
NOTHING: Final = {"created": 0, "started": 0, "completed": 0, "failed": 0, "retried": 0}
TICK: Final = 3
MOST_QUIET: Final = 15
_STREAM: Final = """window.EventSource = class extends EventTarget {
  constructor() { super(); this.readyState = 1; window.stream = this; }
  close() {}
}"""
"""In place of the browser's: a stream into which the test writes."""


def opened(open_page: Open, path: str, key: str | None = None) -> Page:
    page = open_page(key=key)
    page.add_init_script(_STREAM)
    page.goto(path)
    return page


def asked(page: Page) -> list[Request]:
    """Every page that is fetched again from now on, as long as the list is looked at."""
    requests: list[Request] = []
    page.on("request", lambda it: requests.append(it) if it.headers.get("hx-request") else None)
    return requests


def fetched_again(response: Response) -> bool:
    return "hx-request" in response.request.headers


def tell(page: Page, times: int, told: dict[str, Any]) -> None:
    """So many seconds of the stream."""
    page.evaluate(
        """([times, told]) => { for (let it = 0; it < times; it++)
        window.stream.dispatchEvent(new MessageEvent("stats", {data: JSON.stringify(told)})); }""",
        [times, {**QUIET, "per_second": NOTHING, "last_second": NOTHING, **told}],
    )


@pytest.mark.parametrize("path", ["/", "/queues", "/tasks", "/failures", "/schedules"])
def test_every_part_of_a_page_is_brought_up_to_date_by_one_request(
    server: Served, open_page: Open, target: Target, path: str
) -> None:
    """A page that showed nothing yet comes to show what there is, too."""
    name = f"tick{path.replace('/', '-')}"
    key = server.post("/apikeys", {"name": name, "queues": [name], "scopes": ["read"]})["key"]
    page = opened(open_page, path, key)
    expect(page.locator(".empty")).to_have_count(1)
    server.ended(server.task(name, target.url(500), max_retries=0))
    server.post("/schedules", {"every": 900, "task": {"queue": name, "webhook_url": target.url(200)}})
    requests = asked(page)
    for rounds in (1, 2):  # what came with the first asks in its turn
        with page.expect_response(fetched_again):
            tell(page, TICK, {"in_flight": 1})
        expect(page.locator("main .name a, main .error-type").first).to_be_visible()
        expect(page.locator(".empty")).to_have_count(0)
        expect(page.locator(".htmx-added")).to_have_count(0)  # else htmx does not know yet what is new
        assert len(requests) == rounds


def test_nothing_is_asked_for_while_nothing_happens(open_page: Open) -> None:
    """But now and then, for what others may have changed without a task."""
    page = opened(open_page, "/queues")
    requests = asked(page)
    tell(page, MOST_QUIET - 1, {})
    with page.expect_response(fetched_again):
        tell(page, 1, {})
    assert len(requests) == 1
    happening: Sequence[dict[str, Any]] = (
        {"in_flight": 1},
        {"late": 0.5},
        {"last_second": {**NOTHING, "created": 1}},
    )
    for number, told in enumerate(happening, 2):
        tell(page, 1, told)
        with page.expect_response(fetched_again):
            tell(page, TICK - 1, {})
        assert len(requests) == number


def test_who_writes_is_not_disturbed(open_page: Open) -> None:
    page = opened(open_page, "/tasks")
    page.locator("summary", has_text="Filter").click()
    page.get_by_label("Queue", exact=True).fill("mai")
    requests = asked(page)
    tell(page, TICK, {"in_flight": 1})
    page.get_by_label("Queue", exact=True).blur()
    with page.expect_response(fetched_again):
        tell(page, TICK, {"in_flight": 1})
    assert len(requests) == 1
