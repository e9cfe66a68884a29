"""Queues: the table, one of them, its policy, and what destroys, which asks first."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
import trio.testing

from aq.dashboard.policy import calendar
from aq.dashboard.queues import MOST_SHOWN
from aq.policy import QueuePolicy
from aq.task import NewTask, Status
from tests.api.api_world import URL, Api
from tests.dashboard.world import Browser, Page, open_dashboard, signed_in

SECRET = "whsec_" + "c2VjcmV0" * 5


async def wait_in(api: Api, queue: str, number: int, delay: int = 3_600) -> None:
    await api.engine.submit_all([NewTask(queue, URL, {}, delay=delay)] * number)


def inputs(page: Page) -> dict[str, str]:
    """What a form has in it, by name: a browser would send that."""
    found = dict(
        re.findall(r'<input [^>]*name="([^"]+)" type="(?:text|password)" value="([^"]*)"', page.text)
    )
    chosen = re.search(r"<option selected>(\w+)", page.text)
    assert chosen is not None
    return {**found, "retry_backoff": chosen[1]}


def rows(page: Page) -> list[str]:
    return re.findall(r'<td class="name"><a href="/queues/([^"]+)"', page.text)


async def test_the_latest_queue_comes_first_and_paused_ones_last() -> None:
    async with signed_in() as (api, browser):
        await api.engine.queues.create("halted", paused=True)
        await api.engine.queues.create("busy", concurrency=1)
        await api.engine.queues.create("calm")
        await wait_in(api, "halted", 2, delay=0)
        await wait_in(api, "busy", 2, delay=0)
        await api.runner.begun.wait()
        assert rows(await browser.get("/queues")) == ["busy", "calm", "halted"]


async def test_a_table_is_bounded_and_a_name_finds_the_rest() -> None:
    async with signed_in() as (api, browser):
        for number in range(MOST_SHOWN + 2):
            await api.engine.queues.create(f"q{number:03}")
        page = await browser.get("/queues")
        assert len(rows(page)) == MOST_SHOWN
        assert f"The first {MOST_SHOWN} of {MOST_SHOWN + 2}" in page.words
        assert rows(await browser.get("/queues?name=201")) == ["q201"]
        none = await browser.get("/queues?name=nope")
        assert "No queue has this in its name" in none.words
        assert "curl" not in none.words  # that is for who has no queue at all


async def test_a_line_shows_what_ended_in_the_last_quarter_of_an_hour(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_dashboard(wall=lambda: 1_800_000_000) as api:  # where a half minute begins
        browser = await Browser(api).sign_in()
        api.runner.go.set()
        for number in (5, 2):
            await api.engine.submit_all([NewTask("q", URL, {})] * number)
            await trio.sleep(60)
        await trio.sleep(13 * 60 - 5)
        page = await browser.get("/queues")
        assert "7 tasks ended in the last 15 minutes" in page.text
        [line] = re.findall(r'<polyline points="([^"]*)"', page.text)
        heights = [float(point.partition(",")[2]) for point in line.split()]
        assert heights == [1, 19, 11.8, *[19] * 27]
        await trio.sleep(10)
        assert "2 tasks ended in the last 15 minutes" in (await browser.get("/queues")).text


async def test_a_queue_is_paused_and_resumed() -> None:
    async with signed_in() as (api, browser):
        await api.engine.queues.create("q")
        assert "/queues/q/pause" in (await browser.get("/queues/q")).links()
        await browser.post("/queues/q/pause")
        assert (await api.engine.queues.get("q")).policy.paused
        assert "/queues/q/resume" in (await browser.get("/queues/q")).links()
        await browser.post("/queues/q/resume")
        assert not (await api.engine.queues.get("q")).policy.paused


# -- what destroys ------------------------------------------------------------------------------------------
async def test_a_purge_names_the_count_and_wants_it_typed() -> None:
    async with signed_in() as (api, browser):
        await wait_in(api, "q", 1_000)
        await wait_in(api, "q", 234)
        asked = await browser.get("/queues/q/purge")
        assert "Delete all 1,234 tasks that wait in q?" in asked.words
        wrong: list[dict[str, Any]] = [
            {},
            {"typed": "1"},
            {"counted": "1234"},
            {"counted": "1234", "typed": "123"},
        ]
        for fields in wrong:
            refused = await browser.post("/queues/q/purge", **fields)
            assert (refused.status, "That is not the number" in refused.words) == (422, True)
        assert (await api.engine.queues.get("q")).counts.pending == 1_234
        purged = await browser.post("/queues/q/purge", counted="1234", typed=" 1,234 ")
        assert purged.headers["Location"] == "/queues/q"
        assert "1,234 tasks are gone from q" in (await browser.get("/queues/q")).words
        assert (await api.engine.list(queue="q", status=Status.PENDING)).total == 0


async def test_an_empty_queue_has_nothing_to_purge() -> None:
    async with signed_in() as (api, browser):
        await api.engine.queues.create("q")
        asked = await browser.get("/queues/q/purge")
        assert "Nothing waits in q" in asked.words
        assert "<form" not in re.sub(
            r"(?s)<header.*?</header>|<form class=\"search\".*?</form>|<dialog id=\"help\".*?</dialog>",
            "",
            asked.text,
        )


async def test_a_queue_is_deleted_by_its_name_and_not_while_tasks_wait() -> None:
    async with signed_in() as (api, browser):
        await wait_in(api, "busy", 1)
        assert "cannot be deleted now" in (await browser.get("/queues/busy/delete")).words
        assert (await browser.post("/queues/busy/delete", typed="busy")).status == 409
        await api.engine.queues.create("q")
        assert "Type q to go on" in (await browser.get("/queues/q/delete")).words
        assert (await browser.post("/queues/q/delete", typed="Q")).status == 422
        assert (await browser.post("/queues/q/delete", typed="q")).headers["Location"] == "/queues"
        assert (await browser.get("/queues/q")).status == 404


# -- the policy ---------------------------------------------------------------------------------------------
async def test_a_form_that_is_sent_as_it_came_changes_nothing() -> None:
    async with signed_in() as (api, browser):
        rate = {"per_second": 2.5, "burst": 7}
        queue = await api.engine.queues.create(
            "q", rate_limit=rate, destination_concurrency=3, paused=True, signing_secrets=[SECRET]
        )
        page = await browser.get("/queues/q/policy")
        assert SECRET not in page.text
        assert (await browser.post("/queues/q/policy", **inputs(page))).status == 303
        assert (await api.engine.queues.get("q")).policy == queue.policy


async def test_what_is_typed_is_the_policy_from_now_on() -> None:
    async with signed_in() as (api, browser):
        await api.engine.queues.create("q", rate_limit={"per_second": 1}, destination_concurrency=3)
        fields = inputs(await browser.get("/queues/q/policy")) | {
            "retry_backoff": "linear",
            "retry_delay": "0.5",
            "concurrency": " 7 ",
            "destination_concurrency": "",
            "rate_limit.per_second": "",
            "rate_limit.burst": "",
            "signing_secrets": f"{SECRET} {SECRET[:-8]}",
        }
        assert (await browser.post("/queues/q/policy", **fields)).status == 303
        policy = (await api.engine.queues.get("q")).policy
        assert (policy.retry_backoff, policy.retry_delay, policy.concurrency) == ("linear", 0.5, 7)
        assert (policy.destination_concurrency, policy.rate_limit) == (None, None)
        assert policy.signing_secrets == (SECRET, SECRET[:-8])
        fields |= {"signing_secrets": "", "secrets_of_the_service": "1"}
        assert (await browser.post("/queues/q/policy", **fields)).status == 303
        assert (await api.engine.queues.get("q")).policy.signing_secrets is None


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("max_retries", "101"),
        ("max_retries", "3.0"),
        ("max_retries", ""),
        ("retry_backoff", "cubic"),
        ("retry_jitter", "1.5"),
        ("timeout", "abc"),
        ("concurrency", "<script>"),
        ("destination_concurrency", "0"),
        ("rate_limit.per_second", "fast"),
        ("rate_limit.burst", "0"),
        ("retention_completed", "-1"),
    ],
)
async def test_a_wrong_value_stays_in_its_input_with_the_words_of_the_api(field: str, text: str) -> None:
    async with signed_in() as (api, browser):
        before = await api.engine.queues.create("q", rate_limit={"per_second": 1, "burst": 1})
        fields = inputs(await browser.get("/queues/q/policy")) | {field: text}
        page = await browser.post("/queues/q/policy", **fields)
        assert page.status == 422
        value: object = int(text) if text.lstrip("-").isdecimal() else float(text) if "." in text else text
        if field.startswith("rate_limit."):
            rate = {"per_second": 1, "burst": 1, field.partition(".")[2]: value}
            told = (await api.call("PATCH", "/v1/queues/q", {"rate_limit": rate})).json["errors"]
        else:
            told = (await api.call("PATCH", "/v1/queues/q", {field: value})).json["errors"]
        [message] = [wrong["message"] for wrong in told if wrong["field"] == field]
        assert message.removesuffix(", or null") in page.words
        assert "Nothing was changed: 1 value is not right" in page.words
        assert (await api.engine.queues.get("q")).policy == before.policy


async def test_a_queue_is_made_by_hand_under_a_good_name_of_the_keys() -> None:
    async with open_dashboard() as api:
        _, text = await api.engine.keys.create("some", queues=["mine", "more"])
        browser = await Browser(api).sign_in(text)
        fields = inputs(await browser.get("/new-queue")) | {"concurrency": "2"}
        assert (await browser.post("/new-queue", **fields | {"name": "theirs"})).status == 403
        made = await browser.post("/new-queue", **fields | {"name": "mine"})
        assert made.headers["Location"] == "/queues/mine"
        assert (await api.engine.queues.get("mine")).policy.concurrency == 2
        assert (await browser.post("/new-queue", **fields | {"name": "mine"})).status == 409


async def test_a_queue_of_a_bad_name_is_told_at_the_name() -> None:
    async with signed_in() as (_, browser):
        fields = inputs(await browser.get("/new-queue")) | {"name": "a b"}
        page = await browser.post("/new-queue", **fields)
        assert page.status == 422
        assert "must be 1 to 128 of the characters" in page.words


# -- the retry calendar -------------------------------------------------------------------------------------
def test_a_calendar_has_every_retry_with_its_jitter() -> None:
    policy = QueuePolicy(max_retries=4, retry_delay=1, retry_delay_max=5, retry_jitter=0.5)
    assert [(it.wait, it.least, it.most) for it in calendar(policy)] == [
        (1, 1, 1.5),
        (2, 3, 4.5),
        (4, 7, 10.5),
        (5, 12, 18),
    ]
    assert calendar(QueuePolicy(max_retries=0)) == ()


async def test_the_calendar_follows_what_is_typed() -> None:
    async with signed_in() as (_, browser):
        asked = "max_retries=2&retry_backoff=fixed&retry_delay=90&retry_delay_max=3600&retry_jitter=0"
        page = await browser.get(f"/retry-calendar?{asked}")
        assert "retry 2 1 min 30 s later, 3 min after the first" in page.words
        assert "Failed for good 3 min after" in page.words
        for wrong in ("", asked.replace("=2", "=x"), asked.replace("fixed", "%3Cscript%3E")):
            page = await browser.get(f"/retry-calendar?{wrong}")
            assert (page.status, "once they can be worked out" in page.words) == (200, True)
