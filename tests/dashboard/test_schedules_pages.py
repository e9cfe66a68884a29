"""Schedules in a browser: made, read, changed, paused, run, deleted."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Open
from tests.dashboard.looking import Watch
from tests.dashboard.receiver import Target
from tests.dashboard.served import Served


@pytest.fixture
def queue() -> str:
    return f"q-{uuid4().hex[:12]}"


def made(server: Served, queue: str, target: Target, **fields: Any) -> str:
    task = {"queue": queue, "webhook_url": target.url(200), "headers": {"x-token": "secret"}}
    return str(server.post("/schedules", {"cron": "0 9 * * *", "task": task, **fields})["id"])


def notice(page: Page, text: str) -> None:
    expect(page.locator(".notice")).to_contain_text(text)


def test_one_is_made_with_its_times_shown_while_it_is_written(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    page = open_page("/schedules")
    page.get_by_role("link", name="New schedule").click()
    page.get_by_label("Cron expression").press_sequentially("30 9 * * MON-FRI")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    times = page.locator("#times")
    expect(times).to_contain_text("At 09:30 from Monday to Friday Europe/Berlin")
    expect(times.locator("li")).to_have_count(5)
    expect(times.locator("li").first).to_contain_text("09:30 CE")
    page.get_by_label("Queue", exact=True).fill(queue)
    page.get_by_label("Webhook URL").fill(target.url(200))
    page.get_by_label("Payload").fill('{"n":  1e2}')
    page.get_by_role("button", name="Create").click()
    notice(page, "The schedule is made.")
    schedule = server.get(f"/schedules/{page.url.rpartition('/')[2]}")
    assert (schedule["cron"], schedule["timezone"]) == ("30 9 * * MON-FRI", "Europe/Berlin")
    assert schedule["task"]["queue"] == queue
    assert page.locator("#payload").inner_text() == '{"n":  1e2}'
    expect(page.locator(".calendar li")).to_have_count(5)


def test_what_is_wrong_is_said_beside_its_field_and_what_was_written_stays(
    open_page: Open, watch: Watch
) -> None:
    watch.expected = ("422",)
    page = open_page("/schedules/new")
    page.get_by_label("Cron expression").fill("61 9 * * *")
    expect(page.locator("#times .wrong")).to_contain_text("Is not a cron expression")
    page.get_by_label("Queue", exact=True).fill("a b")
    page.get_by_label("Webhook URL").fill("http://example.com/")
    page.get_by_label("Payload").fill("[1]")
    page.evaluate("() => document.querySelector('form.stack').setAttribute('novalidate', '')")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#w-payload")).to_contain_text("must be a JSON object")
    page.get_by_label("Payload").fill("{}")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#w-cron")).to_contain_text("is not a cron expression")
    expect(page.locator("#w-queue")).to_be_visible()
    assert page.get_by_label("Queue", exact=True).input_value() == "a b"


def test_one_of_every_so_many_seconds_is_changed_and_keeps_what_the_form_does_not_show(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    schedule = made(server, queue, target)
    page = open_page(f"/schedules/{schedule}")
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Every so many seconds").check()
    page.get_by_label("Seconds", exact=True).fill("900")
    page.get_by_label("Priority").fill("8")
    page.get_by_label("Tags").fill("a, b c")
    page.get_by_role("button", name="Save").click()
    notice(page, "The schedule is changed.")
    expect(page.locator("h1")).to_have_text("Every 15 min")
    kept = server.get(f"/schedules/{schedule}")
    assert (kept["every"], kept["cron"]) == (900, None)
    assert (kept["task"]["priority"], kept["task"]["tags"]) == (8, ["a", "b c"])
    assert kept["task"]["headers"] == {"x-token": "***"}


def test_headers_go_to_no_other_address_than_their_own(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    schedule = made(server, queue, target)
    page = open_page(f"/schedules/{schedule}")
    page.get_by_role("link", name="Edit").click()
    expect(page.get_by_text("They go to no other address")).to_be_visible()
    page.get_by_label("Webhook URL").fill(target.url(500))
    page.get_by_role("button", name="Save").click()
    notice(page, "The schedule is changed.")
    kept = server.get(f"/schedules/{schedule}")["task"]
    assert kept["webhook_url"] == target.url(500)
    assert "headers" not in kept


def test_it_is_paused_resumed_run_and_deleted(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    schedule = made(server, queue, target)
    page = open_page(f"/schedules/{schedule}")
    page.get_by_role("button", name="Pause").click()
    notice(page, "It is paused")
    assert server.get(f"/schedules/{schedule}")["paused"] is True
    page.get_by_role("button", name="Resume").click()
    notice(page, "It goes on.")
    page.get_by_role("button", name="Run now").click()
    notice(page, "This is the task that the schedule made just now.")
    task = server.ended(page.url.rpartition("/")[2])
    assert (task["queue"], task["schedule_id"]) == (queue, schedule)
    page.goto(f"/schedules/{schedule}")
    page.get_by_role("link", name="Delete").click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("Delete this schedule?")
    question.get_by_role("button", name="Delete it").click()
    notice(page, "The schedule is deleted.")
    assert server.api.get(f"/v1/schedules/{schedule}").status_code == 404


def test_a_key_for_other_queues_does_not_see_it(
    server: Served, open_page: Open, watch: Watch, target: Target, queue: str
) -> None:
    watch.expected = ("403",)
    made(server, queue, target)
    asked = {"name": "other", "scopes": ["read", "write"], "queues": ["other"]}
    page = open_page("/schedules", key=server.post("/apikeys", asked)["key"])
    expect(page.locator("main")).to_contain_text("No schedule yet")
    page.goto("/schedules/new")
    page.get_by_label("Cron expression").fill("0 9 * * *")
    page.get_by_label("Queue", exact=True).fill(queue)
    page.get_by_label("Webhook URL").fill("http://example.com/")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("main")).to_contain_text(f"This key is not for the queue {queue}")
