"""A page under observation: what it must never do, and how it is judged."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from attrs import define, field
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

WIDE: Final = 1280
NARROW: Final = 390
HEIGHTS: Final = {WIDE: 800, NARROW: 844}
THEMES: Final = ("light", "dark")
_TOO_WIDE: Final = """() => {
  const width = document.documentElement.clientWidth;
  const out = element => Math.max(element.getBoundingClientRect().right, element.scrollWidth) > width + 0.5;
  const names = [...document.querySelectorAll("body *")].filter(out).map(
    element => element.tagName.toLowerCase() + "." + element.className);
  return document.documentElement.scrollWidth > width ? [document.documentElement.scrollWidth, ...names] : [];
}"""


@define(slots=False)  # Playwright keeps its own beside the methods it calls
class Watch:
    """Everything that went wrong in the pages of a context, in words.

    An error on a console, one that a script did not catch, a breach of the policy (Chromium tells each on the
    console), a request to another origin than the server's.
    """

    origin: str
    wrong: list[str] = field(factory=list)
    expected: tuple[str, ...] = ()
    """Parts of what may go wrong in this test, because it is about that."""

    def over(self, context: BrowserContext) -> None:
        context.on("page", self._page)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._tell(f"script: {error.error}"))
        context.on("request", self._request)

    def _page(self, page: Page) -> None:
        page.on("crash", lambda _: self._tell("the page crashed"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._tell(f"console {message.type}: {message.text} ({message.location.get('url')})")

    def _request(self, request: Request) -> None:
        split = urlsplit(request.url)
        if split.scheme not in ("data", "blob") and f"{split.scheme}://{split.netloc}" != self.origin:
            self._tell(f"request to {request.url}")

    def _tell(self, text: str) -> None:
        if not any(part in text for part in self.expected):
            self.wrong.append(text)


@cache
def _axe() -> str:
    return gzip.decompress(Path(__file__).parent.joinpath("axe/axe.min.js.gz").read_bytes()).decode()


def inaccessible(page: Page) -> list[str]:
    """What axe finds wrong, with the places; every rule that it has, "best practices" too."""
    page.evaluate(_axe())
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {violation['help']}: {node['target']}: {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def too_wide(page: Page) -> list[str | int]:
    """Empty, or how wide the page has become and the elements that stand out of the window."""
    found: list[str | int] = page.evaluate(_TOO_WIDE)
    return found
