"""The reference in docs/cli.md: every command's help. ``python -m tests.cli.reference`` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.cli.cli_world import aq, every_command

PAGE: Final = Path(__file__).parent.parent.parent / "docs/cli.md"
BEGIN: Final = "<!-- reference: written by tests/cli/reference.py, held by tests/cli/test_docs.py -->\n"


def reference() -> str:
    """A heading and the help for each command; groups before their members."""
    parts = []
    for words, _ in every_command():
        title = " ".join(("aq", *words))
        text = aq(*words, "--help", COLUMNS="90").out.strip()
        parts.append(f"\n{'##' if len(words) < 2 else '###'} `{title}`\n\n```text\n{text}\n```\n")
    return "".join(parts)


def written(page: str) -> str:
    """The page with the reference as it is now."""
    return page.partition(BEGIN)[0] + BEGIN + reference()


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
