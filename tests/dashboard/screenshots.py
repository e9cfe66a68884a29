"""``make screenshots``: every page, wide and narrow, light and dark, as PNG files in docs/screenshots/."""

from __future__ import annotations

import io
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.dashboard import chromium
from tests.dashboard.conftest import sign_in
from tests.dashboard.looking import HEIGHTS, NARROW, THEMES, WIDE
from tests.dashboard.receiver import receiving
from tests.dashboard.scenes import Scenes, play
from tests.dashboard.served import Served, serving

FOLDER: Final = Path(__file__).parents[2] / "docs" / "screenshots"
TALLEST: Final = 1_800
"""Of a page that is longer the picture shows so much."""
COMMON: Final = 144
RARE: Final = 112
"""Colours that are kept: those of which a page has most, and some unlike those. Others become the nearest."""


def main() -> None:
    """Puts them where they belong, and says so."""
    chromium.provide(lambda text: print(text, file=sys.stderr))
    path = chromium.find()
    if path is None:
        raise SystemExit(chromium.MISSING)
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        receiving() as target,
        serving(Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        scenes = play(server, target)
        written = [place for width in (WIDE, NARROW) for place in taken(browser, server, scenes, width)]
        browser.close()
    size = sum(place.stat().st_size for place in written)
    print(f"{len(written)} pictures in {FOLDER}, {size / 1_000:,.0f} kB")


def taken(browser: Browser, server: Served, scenes: Scenes, width: int) -> Iterator[Path]:
    for theme in THEMES:
        with window(browser, server, width, theme) as page:
            for name, path in scenes.paths.items():
                page.set_viewport_size({"width": width, "height": HEIGHTS[width]})
                page.goto(path)
                page.locator("[data-state=live]").wait_for()
                page.wait_for_function("() => document.querySelector('[data-pulse=due]').textContent !== '–'")
                height = page.evaluate("() => document.documentElement.scrollHeight")
                page.set_viewport_size({"width": width, "height": min(TALLEST, max(height, HEIGHTS[width]))})
                place = FOLDER / f"{name}-{width}-{theme}.png"
                place.write_bytes(small(page.screenshot(animations="disabled")))
                yield place


@contextmanager
def window(browser: Browser, server: Served, width: int, theme: str) -> Iterator[Page]:
    """Signed in."""
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": width, "height": HEIGHTS[width]},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        locale="en-GB",
    )
    page = context.new_page()
    sign_in(page, server.key)
    yield page
    context.close()


def small(png: bytes) -> bytes:
    """The same picture with a palette: half of the size, and nobody sees it."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    raw = picture.tobytes()
    pixels = [raw[place : place + 3] for place in range(0, len(raw), 3)]
    colours = [colour for colour, _ in Counter(pixels).most_common()]
    near = dict.fromkeys(colours, (inf, 0))  # how far off the nearest of the palette is, and which one
    palette: list[bytes] = []
    for place in range(min(COMMON + RARE, len(colours))):
        new = colours[place] if place < COMMON else max(near, key=near.__getitem__)
        near = {colour: min(found, (_apart(colour, new), place)) for colour, found in near.items()}
        palette.append(new)
    written = Image.new("P", picture.size)
    written.putpalette(b"".join(palette))
    written.putdata([near[pixel][1] for pixel in pixels])
    written.save(file := io.BytesIO(), "PNG", optimize=True)
    return file.getvalue()


def _apart(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    main()
