"""Failures in a browser: by kind, and one kind retried, counted first."""

from __future__ import annotations

from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.dashboard.conftest import Open
from tests.dashboard.receiver import Target
from tests.dashboard.served import Served


@pytest.fixture
def queue(server: Served, target: Target) -> str:
    """Three that were answered 500, two that reached nobody."""
    name = f"q-{uuid4().hex[:12]}"
    tasks = [
        *(server.task(name, target.url(500, "broken"), max_retries=0) for _ in range(3)),
        *(server.task(name, "http://127.0.0.1:9/", max_retries=0) for _ in range(2)),
    ]
    for task in tasks:
        server.ended(task)
    return name


def test_a_kind_is_retried_as_counted_and_what_fails_meanwhile_is_not(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    page = open_page("/failures")
    row = page.locator("tr").filter(has_text=queue).filter(has_text="http_5xx")
    expect(row).to_contain_text("answered 500 Internal Server Error")
    expect(row.locator(".failed-n")).to_have_text("3")
    row.get_by_role("link", name="Retry").click()
    question = page.get_by_role("dialog")
    expect(question.get_by_role("heading")).to_have_text("Retry 3 failed tasks?")
    later = server.task(queue, target.url(500), max_retries=0)
    server.ended(later)
    question.get_by_role("button", name="Retry 3").click()
    expect(page.locator(".notice")).to_have_text(f"3 tasks wait in {queue} again; they are due at once.")
    failed = server.get(f"/tasks?queue={queue}&error_type=connect")["tasks"]
    assert len(failed) == 2
    assert len(server.get(f"/tasks/{later}")["attempts"]) == 1


def test_a_question_that_was_asked_with_nothing_left_says_so(
    server: Served, open_page: Open, queue: str
) -> None:
    page = open_page(f"/failures/retry?queue={queue}&error_type=tls")
    expect(page.get_by_role("heading")).to_have_text("There is none to retry")
    assert page.get_by_role("button", name="Retry").count() == 0


def test_its_tasks_are_a_link_away(open_page: Open, queue: str) -> None:
    page = open_page("/failures")
    page.locator("tr").filter(has_text=queue).get_by_role("link", name="connect").click()
    page.wait_for_url(f"**/tasks?status=failed&queue={queue}&error_type=connect&destination=**")
    expect(page.locator("tbody tr")).to_have_count(2)


def test_a_key_sees_its_queues_only_and_one_that_may_not_write_is_told(
    server: Served, open_page: Open, queue: str
) -> None:
    asked = {"name": "reader", "scopes": ["read"], "queues": [queue]}
    page = open_page("/failures", key=server.post("/apikeys", asked)["key"])
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Retry").first.dispatch_event("click")
    expect(page.locator(".toasts")).to_contain_text("this needs a key with the scope write")
