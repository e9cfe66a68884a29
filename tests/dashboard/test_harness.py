"""The harness sees what it is there to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.dashboard import chromium
from tests.dashboard.looking import NARROW, Watch, inaccessible, too_wide
from tests.dashboard.served import Served


def shown(browser: Browser, server: Served, watch: Watch, html: str) -> Page:
    """A page of the server's origin with this text, under a policy as strict as the dashboard's."""
    context = browser.new_context(viewport={"width": NARROW, "height": 500})
    watch.over(context)
    policy = {"Content-Security-Policy": "default-src 'none'; img-src * data:"}
    context.route(
        server.url + "/", lambda route: route.fulfill(body=html, content_type="text/html", headers=policy)
    )
    page = context.new_page()
    page.goto(server.url + "/")
    return page


@pytest.mark.parametrize(
    ("html", "part"),
    [
        ("<script>var inline = 1</script>", "Content Security Policy"),
        ("<p style='color: red'>", "Content Security Policy"),
        ("<img src='http://127.0.0.1:1/foreign.png'>", "request to http://127.0.0.1:1/foreign.png"),
        ("<img src='/nothing.png'>", "404"),
    ],
)
def test_what_a_page_must_never_do_is_told(
    browser: Browser, server: Served, watch: Watch, html: str, part: str
) -> None:
    page = shown(browser, server, watch, f"<link rel=icon href='data:,'>{html}")
    page.wait_for_load_state("networkidle")
    page.context.close()
    assert [text for text in watch.wrong if part in text], watch.wrong
    watch.wrong.clear()


def test_errors_of_scripts_are_told(browser: Browser, server: Served, watch: Watch) -> None:
    page = shown(browser, server, watch, "<link rel=icon href='data:,'>")
    page.evaluate("() => { setTimeout(() => { throw new Error('thrown') }); console.error('logged') }")
    page.evaluate("() => new Promise(done => setTimeout(done))")
    page.context.close()
    assert any("thrown" in text for text in watch.wrong)
    assert any("logged" in text for text in watch.wrong)
    watch.wrong.clear()


def test_what_is_too_wide_or_hard_to_read_is_told(browser: Browser, server: Served, watch: Watch) -> None:
    wide = "x" * 500
    page = shown(browser, server, watch, f"<link rel=icon href='data:,'><img><p>{wide}</p>")
    assert "p." in too_wide(page)
    assert any(text.startswith("image-alt") for text in inaccessible(page))
    page.context.close()


def test_chromium_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = tmp_path / "mine"
    monkeypatch.setenv("CHROMIUM", str(named))
    assert chromium.find() is None
    named.write_text("#!/bin/sh\n")
    named.chmod(0o755)
    assert chromium.find() == str(named)


def test_chromium_is_installed_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stands in for apt: a command of that name that puts it there."""
    apt = tmp_path / "apt-get"
    apt.write_text(
        f"#!/bin/sh\nif [ $1 = install ]; then printf '#!/bin/sh\\n' >{tmp_path}/chromium;"
        f" /bin/chmod 755 {tmp_path}/chromium; fi\n"
    )
    apt.chmod(0o755)
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    said: list[str] = []
    chromium.provide(said.append)
    assert (chromium.find(), said) == (None, [])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    chromium.provide(said.append)
    chromium.provide(said.append)
    assert chromium.find() == str(tmp_path / "chromium")
    assert len(said) == 1
    assert said[0].startswith("Installing Chromium")
