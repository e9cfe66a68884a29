"""The form that sends a task again: what is in it, what it makes, and what it does not give away."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aq.engine import TaskView
from aq.task import NewTask
from tests.api.api_world import URL, Api
from tests.dashboard.world import Browser, open_dashboard, signed_in

OTHER = "https://other.example/hook"


@asynccontextmanager
async def sent_before() -> AsyncIterator[tuple[Api, Browser, str]]:
    """A task with a header, and the address of its form."""
    async with signed_in() as (api, browser):
        new = NewTask("q", URL, {"n": 1}, delay=3_600, priority=9, tags=("a",), headers={"x-token": "hidden"})
        task = await api.engine.submit(new)
        yield api, browser, f"/tasks/{task.id}/again"


async def made(api: Api, browser: Browser, form: str, **fields: str) -> TaskView:
    answer = await browser.post(form, **fields)
    assert answer.status == 303, answer.words
    return await api.engine.get(answer.headers["Location"].rpartition("/")[2])


async def test_it_is_filled_in_with_what_the_task_has_but_for_hidden_values() -> None:
    async with sent_before() as (_, browser, form):
        page = await browser.get(form)
        assert re.findall(r'name="(\w+)" type="text" value="([^"]*)"', page.text) == [
            ("queue", "q"),
            ("webhook_url", URL),
            ("delay", "0"),
        ]
        assert re.search(r"<textarea[^>]*>\n(.*)</textarea>", page.text)[1] == "{&#34;n&#34;:1}"  # type: ignore[index]  # it is there
        assert "x-token" in page.words
        assert "hidden" not in page.words


async def test_what_is_written_anew_is_sent_and_the_rest_is_as_before() -> None:
    async with sent_before() as (api, browser, form):
        view = await made(api, browser, form, queue="r", webhook_url=URL, delay="60", payload='{"n":  1e2}')
        task = view.task
        assert (task.queue.name, task.priority, task.options.tags) == ("r", 9, ("a",))
        assert view.payload == b'{"n":  1e2}'
        assert task.due_at - task.created_at == 60_000_000
        assert dict(task.options.headers) == {"x-token": "hidden"}
        assert (await api.engine.list()).total == 2


async def test_headers_go_to_no_other_address_than_their_own() -> None:
    """Their values are told to nobody, and a form must not be a way to have them."""
    async with sent_before() as (api, browser, form):
        view = await made(api, browser, form, queue="q", webhook_url=OTHER, delay="0", payload="{}")
        assert view.task.webhook_url == OTHER
        assert dict(view.task.options.headers) == {}


@pytest.mark.parametrize(
    ("field", "typed", "told"),
    [
        ("payload", "[1]", "must be a JSON object"),
        ("payload", "{", "must be a JSON object"),
        ("delay", "soon", "must be a whole number"),
        ("delay", "99999999999", "must be"),
        ("queue", "no such/name", "must"),
        ("webhook_url", "ftp://example.com", "must"),
    ],
)
async def test_what_is_wrong_is_told_at_its_field_and_stays_written(
    field: str, typed: str, told: str
) -> None:
    async with sent_before() as (api, browser, form):
        fields = {"queue": "q", "webhook_url": URL, "delay": "0", "payload": "{}", field: typed}
        page = await browser.post(form, **fields)
        assert page.status == 422
        [wrong] = re.findall(r'id="(\w+)-hint" class="wrong">([^<]*)', page.text)
        assert wrong[0] == field
        assert told in wrong[1]
        assert typed in page.text
        assert (await api.engine.list()).total == 1


async def test_every_wrong_field_is_told_at_once() -> None:
    async with sent_before() as (_, browser, form):
        page = await browser.post(form, queue="no such/name", webhook_url="x", delay="-1", payload="1")
        assert re.findall(r'id="(\w+)-hint" class="wrong"', page.text) == [
            *("queue", "webhook_url", "delay", "payload")
        ]


async def test_a_form_that_is_sent_twice_makes_one_task() -> None:
    async with sent_before() as (api, browser, form):
        [once] = re.findall(r'name="once" value="(\w+)"', (await browser.get(form)).text)
        fields = {"queue": "q", "webhook_url": URL, "delay": "0", "payload": "{}", "once": once}
        first = await browser.post(form, **fields)
        second = await browser.post(form, **fields)
        assert first.headers["Location"] == second.headers["Location"]
        assert (await api.engine.list()).total == 2
        [other] = re.findall(r'name="once" value="(\w+)"', (await browser.get(form)).text)
        assert other != once


async def test_a_key_of_some_queues_sends_to_those_only() -> None:
    async with open_dashboard() as api:
        task = await api.engine.submit(NewTask("mine", URL, {}, delay=3_600))
        _, text = await api.engine.keys.create("some", queues=["mine"])
        browser = await Browser(api).sign_in(text)
        form = f"/tasks/{task.id}/again"
        fields = {"webhook_url": URL, "delay": "0", "payload": "{}"}
        assert (await browser.post(form, queue="theirs", **fields)).status == 403
        assert (await api.engine.list()).total == 1
        assert (await made(api, browser, form, queue="mine", **fields)).task.queue.name == "mine"
