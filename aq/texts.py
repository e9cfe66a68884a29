"""Texts of others, shown to a person. Pure."""

from __future__ import annotations


def one_line(text: str) -> str:
    """For a log or a terminal: what could start a new line or move the cursor is replaced."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
