"""The documentation as a site: whole, and sufficient to itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import sync_playwright

from tests.dashboard import chromium
from tests.dashboard.looking import Watch
from tools.docs import ROOT, FaultError, build, first_sentence, pages


def copied(folder: Path) -> Path:
    """What the site is built from, in a folder of its own."""
    shutil.copytree(ROOT / "docs", folder / "docs", symlinks=True)
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(copied(tmp_path_factory.mktemp("docs")))


def test_every_page_is_in_the_navigation_and_once() -> None:
    listed = [page.path for page in pages()]
    assert len(listed) == len(set(listed))
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert set(listed) == there


def test_each_page_is_built_and_lies_beside_its_markdown(site: Path) -> None:
    for page in pages():
        name = page.path.removesuffix(".md")
        built = site / ("index.html" if name == "index" else f"{name}/index.html")
        assert "<h1" in built.read_text(), page
        assert (site / page.path).read_text() == (ROOT / "docs" / page.path).read_text()


def test_llms_txt_lists_every_page_with_what_it_says_first(site: Path) -> None:
    lines = (site / "llms.txt").read_text().split("\n")
    assert lines[0] == "# AsyncQueue"
    listed = [re.match(r"- \[(.+?)\]\((.+?)\)(?:: .+)?$", line) for line in lines if line.startswith("- ")]
    assert [(it[1], it[2]) for it in listed if it] == [(page.title, page.path) for page in pages()]
    assert first_sentence("# A\n\n```\nB c\n```\n\nSee [the\nlist](x.md): it is long. More.\n") == (
        "See the list: it is long."
    )


def test_each_link_that_leads_nowhere_is_a_fault(tmp_path: Path) -> None:
    """Told with its line, counted from the end of a page that has none otherwise."""
    page = copied(tmp_path) / "docs/index.md"
    first = page.read_text().count("\n") + 1
    with page.open("a") as end:
        end.write("[x](nowhere.md)\n[x](#nowhere)\n[x](api.md#nowhere)\n")
    with pytest.raises(FaultError) as caught:
        build(tmp_path)
    assert re.findall(r"index\.md:(\d+)", str(caught.value)) == [str(first + number) for number in range(3)]


def test_make_docs_is_what_is_tested_here() -> None:
    shown = subprocess.run(
        ["make", "-n", "-C", str(ROOT), "docs"], check=True, capture_output=True, text=True
    )
    assert "-m tools.docs" in shown.stdout


def test_every_link_within_the_site_leads_to_a_file_of_it(site: Path) -> None:
    """Also those that Zensical does not look at: to what is no page."""
    for page in site.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text()):
            if not urlsplit(link).scheme and page.name != "404.html":
                target = (page.parent / unquote(link)).resolve()
                assert target.is_relative_to(site.resolve()), (page, link)
                assert (target / "index.html" if target.is_dir() else target).exists(), (page, link)


# -- no other host ------------------------------------------------------------------------------------------
LOADED = {
    "stylesheet",
    "icon",
    "preload",
    "modulepreload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "manifest",
}


class Foreign(HTMLParser):
    """Gathers what a page would load from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        loads = [named.get(name, "") for name in ("src", "data", "poster")]
        loads += [part.split()[0] for part in named.get("srcset", "").split(",") if part.strip()]
        if tag == "link" and LOADED & set(named.get("rel", "").split()):
            loads.append(named.get("href", ""))
        loads += re.findall(r"url\(['\"]?([^'\")]+)", named.get("style", ""))
        self.found += [address for address in loads if is_foreign(address)]


def is_foreign(address: str) -> bool:
    return bool(urlsplit(address).netloc)


def foreign(page: str) -> list[str]:
    parser = Foreign()
    parser.feed(page)
    return parser.found


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    every = list(site.rglob("*.html"))
    assert len(every) > len(pages())
    assert {path.name: found for path in every if (found := foreign(path.read_text()))} == {}
    for style in site.rglob("*.css"):
        loaded = re.findall(r"(?:@import|url\()\s*['\"]?([^'\")]+)", style.read_text())
        assert [address for address in loaded if is_foreign(address)] == []


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://unpkg.com/x"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<img srcset="a.png 1x, https://cdn.example/b.png 2x">',
        '<p style="background: url(https://cdn.example/c.png)">',
    ],
)
def test_what_would_be_loaded_is_seen(page: str) -> None:
    assert len(foreign(page)) == 1
    assert foreign('<a href="https://example.com">elsewhere</a><link rel="next" href="/b">') == []


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


def test_a_browser_asks_no_other_host_and_complains_of_nothing(site: Path) -> None:
    """A page of each section is opened; on the first something is searched for, which starts a worker."""
    path = chromium.find()
    assert path is not None, chromium.MISSING
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        context = browser.new_context()
        watch = Watch(address)
        watch.over(context)
        tab = context.new_page()
        for page in {page.section: page for page in pages()[1:]}.values():
            tab.goto(f"{address}/{page.path.removesuffix('.md')}/")
        tab.goto(address)
        tab.get_by_role("button", name="Search").click()
        tab.get_by_placeholder("Search").fill("idempotency")
        tab.locator("[role=listbox] li", has_text="Idempotency").first.wait_for()
        browser.close()
    assert watch.wrong == []
