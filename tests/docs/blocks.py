"""The blocks of a page, in the order in which they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK: Final = re.compile(
    r"""^```(?P<language>\w*)(?:\ title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


@frozen
class Block:
    """``language`` is "" for a drawing; ``title`` names a file, or says where else a command is typed.

    ``follows`` says that nothing but an empty line stands between it and the block before.
    """

    language: str
    title: str
    text: str
    line: int
    follows: bool


def blocks_of(page: Path) -> Iterator[Block]:
    text, end = page.read_text(), -1
    assert len(_BLOCK.findall(text)) * 2 == len(re.findall(r"^ *```", text, re.MULTILINE)), page
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        follows = end >= 0 and not text[end : found.start()].strip()
        yield Block(found["language"], found["title"] or "", found["text"], line, follows)
        end = found.end()


def blocks(text: str, language: str) -> list[str]:
    """The texts of those in a language, without a title."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
