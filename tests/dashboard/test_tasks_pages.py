"""Tasks in a browser: found, looked at, retried, deleted, sent again; and what they hold is never markup."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Open
from tests.dashboard.looking import Watch
from tests.dashboard.receiver import Target, receiving
from tests.dashboard.served import Served

EVIL = """</pre><script>document.title = 'taken'</script><img src=x onerror="alert(1)">"""


@pytest.fixture
def queue() -> str:
    """A name that no other test uses."""
    return f"q-{uuid4().hex[:12]}"


@pytest.fixture
def held() -> Iterator[Target]:
    with receiving() as target:
        yield target


def rows(page: Page) -> list[str]:
    """The ids of the tasks in the list."""
    return [str(link.get_attribute("id")) for link in page.locator("tbody td.name a").all()]


def seen(page: Page, text: str) -> None:
    expect(page.locator("main")).to_contain_text(text)


# -- the list -----------------------------------------------------------------------------------------------
def test_filters_are_an_address_that_can_be_kept(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    good = server.task(queue, target.url(200), tags=["red"])
    bad = server.task(queue, target.url(500), max_retries=0, tags=["blue"])
    refused = server.task(queue, "http://127.0.0.1:9/", max_retries=0)
    for task in (good, bad, refused):
        server.ended(task)
    page = open_page("/tasks")
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("Queue", exact=True).fill(queue)
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(f"**/tasks?queue={queue}**")
    assert rows(page) == [refused, bad, good]
    seen(page, "3 in all")
    page.get_by_role("link", name="Failed 2").click()
    page.wait_for_url("**status=failed**")
    assert rows(page) == [refused, bad]
    kept = page.url
    for more, found in (
        ("error_type=http_5xx", [bad]),
        ("tag=blue", [bad]),
        ("destination=http://127.0.0.1:9", [refused]),
        ("created_after=2000-01-01T00:00", [refused, bad]),
        ("created_before=2000-01-01T00:00", []),
    ):
        page.goto(f"{kept}&{more}")
        assert rows(page) == found, more
    seen(page, "No task matches")
    page.goto(f"{kept}&tag=blue")
    page.get_by_role("link", name="tag blue").click()
    page.wait_for_url(kept)
    assert rows(page) == [refused, bad]


def test_a_wrong_filter_is_named_and_not_lost(open_page: Open) -> None:
    page = open_page("/tasks?status=lost&queue=mail")
    expect(page.get_by_role("alert").filter(has_text="status")).to_contain_text("must be one of")
    assert page.get_by_label("Queue", exact=True).input_value() == "mail"


def test_the_search_leads_on_or_says_why_not(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    task = server.task(queue, target.url(200), tags=["big one"])
    server.ended(task)
    page = open_page("/queues")
    search = page.get_by_label("Search tasks")
    page.keyboard.press("/")
    expect(search).to_be_focused()
    search.fill(f'queue:{queue} tag:"big one"')
    search.press("Enter")
    page.wait_for_url("**/tasks?**")
    assert rows(page) == [task]
    assert search.input_value() == f'queue:{queue} tag:"big one"'
    search.fill("big one")
    search.press("Enter")
    seen(page, "What is big?")
    assert search.input_value() == "big one"
    search.fill(task.lower())
    search.press("Enter")
    page.wait_for_url(f"**/tasks/{task}")
    seen(page, "Completed by the first attempt")


def test_pages_follow_each_other_both_ways(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    news = [{"queue": queue, "webhook_url": target.url(200), "delay": 3600}] * 60
    ids = [made["id"] for made in server.post("/tasks/batch", {"tasks": news})["tasks"]][::-1]
    page = open_page(f"/tasks?queue={queue}")
    assert rows(page) == ids[:25]
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**before=**")
    assert rows(page) == ids[25:50]
    page.get_by_role("link", name="Older").click()
    page.wait_for_url(f"**before={ids[49]}")
    assert rows(page) == ids[50:]
    assert page.get_by_role("link", name="Older").count() == 0
    page.get_by_role("link", name="Newer").click()
    page.wait_for_url("**after=**")
    assert rows(page) == ids[25:50]
    page.get_by_role("link", name="Newer").click()
    page.wait_for_url(f"**after={ids[25]}")
    assert rows(page) == ids[:25]
    page.get_by_role("link", name="Older").click()
    page.wait_for_url(f"**before={ids[24]}")
    page.get_by_role("link", name="Newest").click()
    page.wait_for_url(f"**/tasks?queue={queue}")


def test_new_tasks_are_counted_and_move_nothing(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    first = server.task(queue, target.url(200), delay=3600)
    page = open_page(f"/tasks?queue={queue}")
    later = [server.task(queue, target.url(200), delay=3600) for _ in range(3)]
    page.get_by_role("link", name="3 new").wait_for()
    assert rows(page) == [first]
    server.api.delete(f"/v1/tasks/{first}").raise_for_status()
    page.get_by_role("link", name="3 new").click()
    expect(page.locator("tbody tr")).to_have_count(3)
    assert rows(page) == later[::-1]


# -- one task -----------------------------------------------------------------------------------------------
def test_a_failed_task_tells_why_and_is_retried(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    task = server.task(queue, target.url(500, "out of paper"), max_retries=0)
    server.ended(task)
    page = open_page(f"/tasks/{task}")
    assert page.locator("h1").inner_text() == "Failed for good after one attempt: the receiver answered 500"
    assert page.locator(".answer").inner_text().strip() == "out of paper"
    expect(page.locator(".piece.failure")).to_have_count(1)
    page.get_by_role("button", name="Retry").click()
    seen(page, "It is due again, with all of its retries.")
    expect(page.locator(".attempts > li")).to_have_count(2)
    assert server.ended(task)["attempts"][1]["number"] == 2


def test_a_pending_task_tells_what_it_waits_for_and_is_deleted_after_a_question(
    server: Served, open_page: Open, target: Target, queue: str, watch: Watch
) -> None:
    watch.expected = ("404",)  # its page may look once more, between the end of the task and its own
    task = server.task(queue, target.url(200), delay=7200, max_retries=2, payload={"n": 1})
    page = open_page(f"/tasks/{task}")
    seen(page, "Waits until it is due")
    seen(page, "attempt 2 after 1 s")
    seen(page, "attempt 3 after 2 s")
    page.get_by_role("link", name="Delete").click()
    question = page.get_by_role("dialog")
    seen_there = question.get_by_role("heading")
    expect(seen_there).to_have_text("Delete this task?")
    question.get_by_role("link", name="Keep it").click()
    expect(question).not_to_be_visible()
    page.get_by_role("link", name="Delete").click()
    question.get_by_role("button", name="Delete it").click()
    page.wait_for_url("**/tasks")
    seen(page, f"{task} is deleted: it will never be delivered.")
    assert server.api.get(f"/v1/tasks/{task}").status_code == 404


def test_what_is_not_possible_says_why(server: Served, open_page: Open, target: Target, queue: str) -> None:
    task = server.task(queue, target.url(200), delay=7200)
    reader = server.post("/apikeys", {"name": "reader", "scopes": ["read"]})["key"]
    page = open_page(f"/tasks/{task}")
    retry = page.get_by_role("button", name="Retry")
    assert retry.get_attribute("aria-disabled") == "true"
    retry.dispatch_event("click")
    expect(page.locator(".toasts")).to_contain_text("only a failed task can be retried")
    page = open_page(f"/tasks/{task}", key=reader)
    page.get_by_role("button", name="Delete").dispatch_event("click")
    expect(page.locator(".toasts")).to_contain_text("this needs a key with the scope write")
    assert server.get(f"/tasks/{task}")["status"] == "pending"


def test_sent_again_as_new_it_is_another_task_with_the_same_bytes(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    body = (
        f'{{"queue": "{queue}", "webhook_url": "{target.url(200)}", "priority": 9, "payload": {{"n":  1e2}}}}'
    )
    made = server.api.post("/v1/tasks", content=body, headers={"Content-Type": "application/json"}).json()
    server.ended(made["id"])
    page = open_page(f"/tasks/{made['id']}")
    assert page.locator("#payload").inner_text() == '{"n":  1e2}'
    page.get_by_role("link", name="Send again").click()
    page.get_by_role("button", name="Send", exact=True).click()
    seen(page, f"This is the new task, made from {made['id']}.")
    again = page.url.rpartition("/")[2]
    assert again != made["id"]
    assert server.ended(again)["priority"] == 9
    page.reload()
    assert page.locator("#payload").inner_text() == '{"n":  1e2}'


def test_a_task_is_seen_to_run_and_to_end_as_it_happens(
    server: Served, open_page: Open, held: Target, queue: str
) -> None:
    task = server.task(queue, held.held(), delay=2)
    page = open_page(f"/tasks/{task}")
    heading = page.locator("h1")
    expect(heading).to_have_text("Attempt 1 is running")
    held.go.set()
    expect(heading).to_contain_text("Completed by the first attempt")
    expect(page.locator(".attempts > li")).to_have_count(1)


def test_its_lines_for_a_shell_are_copied_also_where_there_is_no_clipboard(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    task = server.task(queue, target.url(200), payload={"say": "it's"})
    page = open_page(f"/tasks/{task}")
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.evaluate(
        "() => document.addEventListener('copy', () => { window.copied = document.getSelection().toString()"
        " || document.activeElement.value })"
    )
    page.locator("[data-copy=to-receiver]").click()
    expect(page.locator(".toasts")).to_contain_text("Copied")
    copied = page.evaluate("() => window.copied")
    assert copied == page.locator("#to-receiver").inner_text().strip()
    assert copied.startswith("curl -X POST ")


def test_a_task_that_is_not_there_is_told(open_page: Open, watch: Watch) -> None:
    watch.expected = ("404",)
    page = open_page("/tasks/task_01JDE3G5P00007CMS8H5KDRDQG")
    seen(page, "There is no task task_01JDE3G5P00007CMS8H5KDRDQG")


# -- what others wrote --------------------------------------------------------------------------------------
def test_nothing_that_others_wrote_is_markup(
    server: Served, open_page: Open, target: Target, queue: str
) -> None:
    """Answers, payloads, tags, ordering keys, URLs: the page shows them and no script of theirs runs."""
    task = server.task(
        queue,
        target.url(500, EVIL),
        payload={"html": EVIL},
        tags=["<script>document.title = 'taken'</script>"],
        ordering_key="<img src=x onerror=alert(1)>",
        max_retries=0,
    )
    server.ended(task)
    page = open_page(f"/tasks/{task}")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    assert page.locator(".answer").inner_text().strip() == EVIL
    assert json.loads(page.locator("#payload").inner_text()) == {"html": EVIL}
    seen(page, "<img src=x onerror=alert(1)>")
    for path in (f"/tasks?queue={queue}", "/failures", f"/tasks?q={EVIL}"):
        page.goto(path)
        assert "taken" not in page.title()
    assert page.locator("main img, main script").count() == 0
