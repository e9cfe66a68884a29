"""The dashboard in front of an engine in memory, and a browser without a screen: it keeps cookies."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from attrs import define, field, frozen
from werkzeug.datastructures import Headers

from aq.api.limits import RateLimits
from aq.dashboard import Dashboard
from tests.api.api_world import KEY, Api, open_api


@frozen
class Page:
    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def words(self) -> str:
        """What a reader sees: without the tags."""
        return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", self.text).split()))

    def links(self) -> set[str]:
        return set(map(html.unescape, re.findall(r'(?:href|src|action)="([^"]*)"', self.text)))


@define
class Browser:
    """``cookies`` are sent with each request; ``csrf`` with each form."""

    api: Api
    cookies: dict[str, str] = field(factory=dict)
    csrf: str = ""

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Page:
        page = await self.ask("GET", path, headers=headers)
        if found := re.search(rb'"X-CSRF-Token": "([^"]+)"', page.body):
            self.csrf = found[1].decode()
        return page

    async def post(self, path: str, headers: Any = None, **fields: Any) -> Page:
        """A form, with the token of the latest page unless the fields have one."""
        return await self.ask("POST", path, fields={"csrf": self.csrf, **fields}, headers=headers)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        fields: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Page:
        sent = {"Accept": "text/html", **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        data = None
        if fields is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
            data = urlencode(fields, doseq=True).encode()
        client = self.api.app.test_client(use_cookies=False)
        response = await client.open(path, method=method, headers=sent, data=data)  # type: ignore[call-arg]  # its stub wants json too
        page = Page(response.status_code, response.headers, await response.get_data(as_text=False))
        for cookie in page.headers.getlist("Set-Cookie"):
            name, _, value = cookie.split(";")[0].partition("=")
            self.cookies[name] = value
        return page

    async def sign_in(self, key: str = KEY) -> Browser:
        page = await self.post("/signin", key=key)
        assert page.status == 303, page.text
        await self.get("/")
        return self


@asynccontextmanager
async def open_dashboard(*, dev: bool = False, once: str | None = None, **options: Any) -> AsyncIterator[Api]:
    """``once`` signs in with `KEY`'s grant; ``options`` are `open_api`'s."""
    async with open_api(dev=dev, **options) as api:
        grant = None if once is None else api.engine.keys.accept(KEY)
        limits = RateLimits(api.engine.clock)
        Dashboard(api.engine, limits, dev=dev, once=once, once_grant=grant).mount(api.app)
        yield api


@asynccontextmanager
async def signed_in(key: str = KEY, **options: Any) -> AsyncIterator[tuple[Api, Browser]]:
    async with open_dashboard(**options) as api:
        yield api, await Browser(api).sign_in(key)
