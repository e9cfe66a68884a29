"""The way in: sign-in, sessions and their ends, the token of forms, scopes, queues, limits."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from aq.apikey import Scope
from aq.dashboard.door import OPEN
from aq.dashboard.sessions import MAX_FAILURES, MAX_SESSIONS, SESSION_SECONDS, Sessions
from tests.api.api_world import KEY, Api, open_api
from tests.dashboard.world import Browser, open_dashboard, signed_in

ONCE = "o" * 43


async def made(api: Api, **fields: Any) -> str:
    _, text = await api.engine.keys.create("made", **fields)
    return text


def routes(api: Api) -> list[tuple[str, str, str]]:
    """(method, path, endpoint) of every route of the dashboard."""
    return [
        (method, rule.rule.replace("<name>", "q").replace("<key_id>", "x"), rule.endpoint.rpartition(".")[2])
        for rule in api.app.url_map.iter_rules()
        if rule.endpoint.startswith("dashboard.")
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"})
    ]


# -- signing in ---------------------------------------------------------------------------------------------
async def test_a_key_opens_a_session_by_a_cookie_that_no_script_sees_and_no_other_site_sends() -> None:
    async with open_dashboard() as api:
        page = await Browser(api).post("/signin", key=f" {KEY} ")
        assert (page.status, page.headers["Location"]) == (303, "/")
        [cookie] = page.headers.getlist("Set-Cookie")
        name, *traits = cookie.split("; ")
        assert name.startswith("aq_session=")
        assert KEY not in cookie
        assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={SESSION_SECONDS}"} <= set(traits)
        assert "Secure" not in traits


async def test_by_https_the_cookie_is_secure_and_no_other_hosts() -> None:
    async with open_dashboard() as api:
        browser, https = Browser(api), {"X-Forwarded-Proto": "https"}
        page = await browser.post("/signin", headers=https, key=KEY)
        [cookie] = page.headers.getlist("Set-Cookie")
        assert cookie.startswith("__Host-aq=")
        assert "; Secure" in cookie
        assert (await browser.get("/", headers=https)).status == 200


@pytest.mark.parametrize("key", ["", "aq_live_wrong", KEY[:-1], "\ud800".encode("utf-8", "replace").decode()])
async def test_a_wrong_key_opens_nothing(key: str) -> None:
    async with open_dashboard() as api:
        browser = Browser(api)
        page = await browser.post("/signin", key=key)
        assert (page.status, page.headers.getlist("Set-Cookie")) == (401, [])
        assert "This key is not valid" in page.words
        assert (await browser.get("/")).status == 303


async def test_wrong_keys_are_limited_by_address_and_for_a_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_dashboard() as api:
        for _ in range(MAX_FAILURES):
            assert (await Browser(api).post("/signin", key="x")).status == 401
        refused = await Browser(api).post("/signin", key=KEY)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "60")
        await trio.sleep(60)
        assert (await Browser(api).post("/signin", key=KEY)).status == 303


@pytest.mark.parametrize(
    ("asked", "led"),
    [
        ("/queues", "/queues"),
        ("/tasks?queue=q", "/tasks?queue=q"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/signin", "/"),
        ("/a\r\nb", "/"),
    ],
)
async def test_a_sign_in_leads_on_to_pages_of_this_dashboard_only(asked: str, led: str) -> None:
    async with open_dashboard() as api:
        browser = Browser(api)
        page = await browser.ask("POST", "/signin", fields={"key": KEY}, headers=None)
        assert page.headers["Location"] == "/"
        again = await browser.get("/signin?next=" + asked.replace("?", "%3F").replace("\r\n", "%0D%0A"))
        assert (again.status, again.headers["Location"]) == (303, led)


async def test_a_page_asked_for_without_a_session_comes_after_the_sign_in() -> None:
    async with open_dashboard() as api:
        page = await Browser(api).get("/queues?x=1")
        assert (page.status, page.headers["Location"]) == (303, "/signin?next=/queues%3Fx%3D1")


async def test_the_address_of_a_development_server_signs_in_once() -> None:
    async with open_dashboard(once=ONCE) as api:
        first, second = Browser(api), Browser(api)
        assert (await first.get(f"/signin/{ONCE[:-1]}")).status == 401
        page = await first.get(f"/signin/{ONCE}")
        assert (page.status, page.headers["Location"]) == (303, "/")
        assert (await first.get("/keys")).status == 200
        assert (await first.get(f"/signin/{ONCE}")).status == 303  # clicked again: still signed in
        assert (await second.get(f"/signin/{ONCE}")).status == 401
        assert second.cookies == {}


# -- without a session --------------------------------------------------------------------------------------
async def test_without_a_session_nothing_is_shown_or_done() -> None:
    async with open_dashboard(dev=True, once=ONCE) as api:
        found = routes(api)
        assert {"overview", "queues", "queue", "pause_queue", "keys", "live", "series"} <= {
            it[2] for it in found
        }
        assert {"sign_in_page", "sign_in", "sign_in_once", "asset", "favicon"} == OPEN
        for method, path, endpoint in found:
            if endpoint not in OPEN:
                page = await Browser(api).ask(method, path, fields={} if method == "POST" else None)
                assert page.status == 303, (method, path)
                assert page.headers["Location"].startswith("/signin"), path


async def test_a_script_without_a_session_is_told_where_to_go() -> None:
    async with open_dashboard() as api:
        page = await Browser(api).get("/queues", headers={"HX-Request": "true"})
        assert (page.status, page.headers["HX-Redirect"]) == (401, "/signin")
        assert (await Browser(api).get("/live", headers={"Accept": "text/event-stream"})).status == 401


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/queues", "/v1/apikeys", "/v1/events"])
async def test_a_cookie_is_no_key_for_the_api(path: str) -> None:
    async with signed_in() as (_, browser):
        assert (await browser.get(path)).status == 401


async def test_a_key_in_a_header_opens_no_page() -> None:
    async with open_dashboard() as api:
        assert (await Browser(api).get("/", headers={"X-API-Key": KEY})).status == 303


# -- the end of a session -----------------------------------------------------------------------------------
async def test_a_sign_out_ends_the_session_in_every_window() -> None:
    async with signed_in() as (api, browser):
        other = Browser(api, dict(browser.cookies))
        assert (await browser.post("/signout")).headers["Location"] == "/signin"
        assert (await other.get("/")).status == 303


async def test_a_session_ends_with_its_key() -> None:
    async with open_dashboard() as api:
        key, text = await api.engine.keys.create("short", scopes=["read"])
        browser = await Browser(api).sign_in(text)
        assert (await browser.get("/")).status == 200
        await api.engine.keys.revoke(key.id)
        assert (await browser.get("/")).status == 303


async def test_a_session_ends_after_twelve_hours(autojump_clock: trio.testing.MockClock) -> None:
    async with signed_in() as (_, browser):
        await trio.sleep(SESSION_SECONDS - 1)
        assert (await browser.get("/")).status == 200
        await trio.sleep(1)
        assert (await browser.get("/")).status == 303


async def test_a_sign_in_closes_the_session_before_it() -> None:
    async with signed_in() as (api, browser):
        before = Browser(api, dict(browser.cookies))
        await browser.post("/signin", key=KEY)
        assert (await before.get("/")).status == 303
        assert (await browser.get("/")).status == 200


async def test_sessions_have_a_bound_and_the_oldest_goes() -> None:
    async with open_api() as api:
        sessions, grant = Sessions(api.engine.clock), api.engine.keys.accept(KEY)
        assert grant is not None
        values = [sessions.open(grant, "label")[1] for _ in range(MAX_SESSIONS + 2)]
        assert len(sessions) == MAX_SESSIONS
        assert [sessions.find(value) is None for value in values[:3]] == [True, True, False]
        assert sessions.find(values[-1]) is not None
        assert all(value not in repr(sessions.find(values[-1])) for value in values)


# -- what a form must carry ---------------------------------------------------------------------------------
async def test_nothing_is_done_without_the_sessions_token() -> None:
    async with signed_in() as (api, browser):
        await api.engine.queues.create("q")
        other = await Browser(api).sign_in()
        assert other.csrf != browser.csrf
        for token in ("", other.csrf, browser.csrf[:-1]):
            assert (await browser.post("/queues/q/pause", csrf=token)).status == 403
        assert not (await api.engine.queues.get("q")).policy.paused
        assert (await browser.post("/queues/q/pause")).status == 303
        resumed = await browser.post("/queues/q/resume", csrf="", headers={"X-CSRF-Token": browser.csrf})
        assert resumed.status == 303


async def test_a_form_of_another_site_is_refused_whatever_it_carries() -> None:
    async with signed_in() as (api, browser):
        await api.engine.queues.create("q")
        for origin in ("https://evil.example", "null", "http://localhost:1"):
            headers = {"Origin": origin}
            assert (await browser.post("/queues/q/pause", headers=headers)).status == 403
            assert (await Browser(api).post("/signin", headers=headers, key=KEY)).status == 403
        assert (await browser.post("/queues/q/pause", headers={"Origin": "http://localhost"})).status == 303


# -- scopes, queues, limits ---------------------------------------------------------------------------------
async def test_each_page_needs_the_scope_that_the_api_needs_for_the_same() -> None:
    async with open_dashboard(dev=True) as api:
        for scope in Scope:
            browser = await Browser(api).sign_in(await made(api, scopes=[scope]))
            for method, path, endpoint in routes(api):
                if endpoint in OPEN or endpoint in ("sign_out", "live"):
                    continue
                reading = Scope.READ if method == "GET" else Scope.WRITE
                needed = Scope.ADMIN if path.startswith("/keys") else reading
                fields = None if method == "GET" else {"csrf": browser.csrf}
                page = await browser.ask(method, path, fields=fields)
                assert (page.status == 403) is (scope is not needed), (scope, method, path, page.words)


async def test_what_a_key_may_not_do_is_shown_disabled_with_the_reason() -> None:
    async with open_dashboard(dev=True) as api:
        await api.engine.queues.create("q")
        browser = await Browser(api).sign_in(await made(api, scopes=["read"]))
        for path in ("/", "/queues/q"):
            page = await browser.get(path)
            assert 'aria-disabled="true"' in page.text
            assert "needs a key with the scope write" in page.words
            assert "/pause" not in page.text


async def test_a_key_for_some_queues_sees_those_only() -> None:
    async with open_dashboard() as api:
        for name in ("mine", "theirs"):
            await api.engine.queues.create(name)
        browser = await Browser(api).sign_in(await made(api, queues=["mine"]))
        for path in ("/", "/queues"):
            page = await browser.get(path)
            assert "mine" in page.words
            assert "theirs" not in page.text
        assert (await browser.get("/queues/theirs")).status == 404
        assert (await browser.post("/queues/theirs/pause")).status == 404
        assert not (await api.engine.queues.get("theirs")).policy.paused


async def test_the_environment_is_the_keys() -> None:
    async with open_dashboard() as api:
        await api.engine.queues.create("lively")
        browser = await Browser(api).sign_in(await made(api, environment="test"))
        page = await browser.get("/queues")
        assert "lively" not in page.text
        assert "sandbox" in page.words


async def test_requests_count_towards_the_keys_limit() -> None:
    async with open_dashboard() as api:
        browser = await Browser(api).sign_in(await made(api, rate_limit_per_minute=3))
        pages = [await browser.get("/queues") for _ in range(3)]
        assert [page.status for page in pages] == [200, 200, 429]
        assert pages[-1].headers["Retry-After"]
        assert pages[0].headers["X-RateLimit-Remaining"] == "1"
