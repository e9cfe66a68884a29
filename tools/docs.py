"""``make docs``: the site from ``mkdocs.yml`` into ``site/``, strictly, and what programs read beside it.

Zensical builds the pages and refuses links and anchors that lead nowhere. Beside each page lies its Markdown
(``site/api/tasks.md``), and ``site/llms.txt`` lists them all (https://llmstxt.org).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from attrs import frozen

ROOT: Final = Path(__file__).parent.parent


class FaultError(Exception):
    """A page that is not fit to be shown; the text names it, its line and what is wrong."""


@frozen
class Page:
    """``path`` is relative to ``docs/``; ``section`` is the tab that it is found under."""

    section: str
    title: str
    path: str


def pages(root: Path = ROOT) -> list[Page]:
    """Every page of the navigation, in its order."""
    found: list[Page] = []
    for entry in settings(root)["nav"]:
        ((section, below),) = entry.items()
        found += [Page(section, title, path) for title, path in _leaves(section, below)]
    return found


def settings(root: Path = ROOT) -> dict[str, Any]:
    """``mkdocs.yml``."""
    read: dict[str, Any] = yaml.safe_load((root / "mkdocs.yml").read_text())
    return read


def _leaves(title: str, below: Any) -> Iterator[tuple[str, str]]:
    if isinstance(below, str):
        yield title, below
        return
    for entry in below:
        ((name, deeper),) = entry.items()
        yield from _leaves(name, deeper)


def first_sentence(text: str) -> str:
    """What a page says first, as one line of plain text; "" when it has no prose."""
    without_blocks = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.search(r"^(?=[A-Z`*\[])(?:.+\n?)+", without_blocks, re.MULTILINE)
    plain = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", " ".join(prose[0].split()) if prose else "")
    return re.split(r"(?<=[.:]) (?=[A-Z`])", plain, maxsplit=1)[0]


def index(root: Path = ROOT) -> str:
    """``llms.txt``: what this is, and each page with its first sentence, by section."""
    told = settings(root)
    lines, section = [f"# {told['site_name']}", "", f"> {told['site_description']}"], ""
    for page in pages(root):
        if page.section != section:
            section = page.section
            lines += ["", f"## {section}", ""]
        said = first_sentence((root / "docs" / page.path).read_text())
        lines.append(f"- [{page.title}]({page.path})" + (f": {said}" if said else ""))
    return "\n".join([*lines, ""])


def build(root: Path = ROOT) -> Path:
    """The site's folder. Raises FaultError when a page has a fault, a link that leads nowhere among them."""
    site = root / str(settings(root)["site_dir"])
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(
        command, cwd=root, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise FaultError(re.sub(r"\x1b\[[\d;]*m", "", done.stderr).partition("Traceback")[0])
    for page in pages(root):
        twin = site / page.path
        twin.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / "docs" / page.path, twin)
    (site / "llms.txt").write_text(index(root))
    return site


if __name__ == "__main__":
    try:
        print(f"built {build().relative_to(ROOT)}/index.html")
    except FaultError as error:
        sys.exit(str(error))
