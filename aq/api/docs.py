"""``/openapi.json`` and the page that shows it. Everything the page needs comes from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from attrs import frozen
from quart import Response
from quart_trio import QuartTrio

from aq.api.files import ASK_AGAIN, FOR_GOOD, File
from aq.api.openapi.build import document
from aq.api.openapi.operation import Answer, Tag, ok, operation
from aq.api.query import no_parameters
from aq.errors import NotFoundError

_FOLDER: Final = Path(__file__).parent / "static"
_FILES: Final = ("swagger-ui.css", "docs.css", "swagger-ui-bundle.js", "docs.js")
_SAFE: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The viewer needs nothing inline, neither script nor style; ``data:`` are the icons in its stylesheet."""
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>AsyncQueue: the HTTP API</title>
<link rel="icon" href="data:,">
{styles}
</head>
<body>
<main id="docs"></main>
<noscript><p>The page needs JavaScript; it shows <a href="openapi.json">openapi.json</a>.</p></noscript>
{scripts}
</body>
</html>
"""


@frozen
class DocsRoutes:
    """``/openapi.json``, ``/docs`` and its files."""

    document: Callable[[], File]

    @classmethod
    def of(cls, app: QuartTrio) -> DocsRoutes:
        """What is described are the routes that are there when somebody asks for the first time."""
        return cls(cache(lambda: File.of(msgspec.json.encode(document(app)), "application/json")))

    def mount(self, app: QuartTrio) -> None:
        app.add_url_rule("/openapi.json", "openapi", self.openapi, methods=["GET"])
        app.add_url_rule("/docs", "docs", self.docs, methods=["GET"])
        app.add_url_rule("/docs/<digest>/<file>", "docs_file", self.docs_file, methods=["GET"])

    @operation(Tag.SERVICE, "This document", ok("OpenApi", "OpenAPI 3.1."))
    async def openapi(self) -> Response:
        """It is made of the rules and routes that the service itself goes by."""
        no_parameters()
        return self.document().answer(ASK_AGAIN, _SAFE)

    @operation(
        Tag.SERVICE, "This document as a page", Answer(200, "To be opened in a browser.", media="text/html")
    )
    async def docs(self) -> Response:
        """Everything that it needs is served from here."""
        no_parameters()
        return _page().answer(ASK_AGAIN, _SAFE)

    async def docs_file(self, digest: str, file: str) -> Response:
        """Kept for good: what changes has another digest, and so another address."""
        no_parameters()
        found = _files().get(file)
        if found is None or found.digest != digest:
            raise NotFoundError("there is nothing at this address")
        return found.answer(FOR_GOOD, _SAFE)


@cache
def _files() -> Mapping[str, File]:
    """By name, in the order in which the page needs them."""
    return {name: File.read(_FOLDER / name) for name in _FILES}


@cache
def _page() -> File:
    places = [f"docs/{file.digest}/{name}" for name, file in _files().items()]
    styles = [f'<link rel="stylesheet" href="{place}">' for place in places if place.endswith(".css")]
    scripts = [f'<script src="{place}"></script>' for place in places if place.endswith(".js")]
    page = _PAGE.format(styles="\n".join(styles), scripts="\n".join(scripts))
    return File.of(page.encode(), "text/html; charset=utf-8")
