"""Keys: made with a form, shown once, revoked by name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aq.apikey import Scope
from tests.api.api_world import KEY
from tests.dashboard.world import Browser, open_dashboard, signed_in

GOOD: dict[str, Any] = {
    "name": "deploys",
    "environment": "live",
    "scopes": ["read"],
    "queues": "mail, sms",
    "rate_limit_per_minute": "60",
}


def once(text: str) -> str:
    found = re.search(r'name="once" value="([^"]+)"', text)
    assert found is not None
    return found[1]


async def test_a_key_is_made_shown_once_and_works() -> None:
    async with signed_in() as (api, browser):
        form = await browser.get("/keys/new")
        made = await browser.post("/keys/new", once=once(form.text), **GOOD)
        assert made.headers["Cache-Control"] == "no-store"
        [text] = re.findall(r"aq_live_\w{43}", made.text)
        [key] = api.engine.keys.list()
        assert (key.name, key.scopes, key.queues) == ("deploys", (Scope.READ,), ("mail", "sms"))
        assert key.rate_limit_per_minute == 60
        assert (await api.get("/v1/queues", key=text)).status == 200
        again = await browser.post("/keys/new", once=once(form.text), **GOOD)
        assert "This form made the key already" in again.words
        assert len(api.engine.keys.list()) == 1
        for path in ("/keys", "/"):
            assert text not in (await browser.get(path)).text


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("name", "", "must be 1 to 100 characters"),
        ("environment", "moon", "must be one of live, test"),
        ("scopes", [], "must be a list of 1 to 3"),
        ("scopes", ["root"], "must be one of read, write, admin"),
        ("queues", "a/b", "must be 1 to 128 of the characters"),
        ("rate_limit_per_minute", "x<b>", "must be an integer"),
    ],
)
async def test_what_is_wrong_is_told_where_it_is(field: str, value: Any, told: str) -> None:
    async with signed_in() as (api, browser):
        page = await browser.post("/keys/new", **GOOD | {field: value})
        assert (page.status, told in page.words) == (422, True), page.words
        assert "<b>" not in page.text
        assert api.engine.keys.list() == []


async def test_a_key_makes_and_sees_only_what_it_could_be_itself() -> None:
    async with open_dashboard() as api:
        theirs, _ = await api.engine.keys.create("theirs")
        _, text = await api.engine.keys.create(
            "sandbox", environment="test", scopes=["admin"], queues=["mail"]
        )
        browser = Browser(api)
        await browser.sign_in(text)
        page = await browser.get("/keys")
        assert "theirs" not in page.words
        assert (await browser.post("/keys/new", **GOOD)).status == 403
        assert (await browser.get(f"/keys/{theirs.id}/revoke")).status == 404
        assert (await browser.post(f"/keys/{theirs.id}/revoke", typed="theirs")).status == 404
        good = GOOD | {"environment": "test", "queues": "mail"}
        assert (await browser.post("/keys/new", **good)).status == 200


async def test_a_key_is_revoked_by_its_name() -> None:
    async with signed_in() as (api, browser):
        key, text = await api.engine.keys.create("old laptop")
        place = f"/keys/{key.id}/revoke"
        assert "Revoke old laptop?" in (await browser.get(place)).words
        assert (await browser.post(place, typed="laptop")).status == 422
        assert (await api.get("/v1/tasks", key=text)).status == 200
        assert (await browser.post(place, typed="old laptop")).headers["Location"] == "/keys"
        assert (await api.get("/v1/tasks", key=text)).status == 401
        assert "old laptop is revoked" in (await browser.get("/keys")).words


async def test_who_revokes_the_key_in_use_is_warned_and_out() -> None:
    async with open_dashboard() as api:
        key, text = await api.engine.keys.create("mine", scopes=list(Scope))
        browser = await Browser(api).sign_in(text)
        assert "yours now" in (await browser.get("/keys")).words
        assert "this session ends too" in (await browser.get(f"/keys/{key.id}/revoke")).words
        await browser.post(f"/keys/{key.id}/revoke", typed="mine")
        assert (await browser.get("/keys")).headers["Location"].startswith("/signin")


async def test_the_last_key_that_manages_keys_stays() -> None:
    async with open_dashboard(operator=False) as api:
        text = await api.engine.keys.first_key()
        assert text is not None
        assert text != KEY
        [key] = api.engine.keys.list()
        browser = await Browser(api).sign_in(text)
        page = await browser.post(f"/keys/{key.id}/revoke", typed=key.name)
        assert (page.status, "last key that can manage keys" in page.words) == (409, True)
