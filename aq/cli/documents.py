"""Tasks from JSON."""

from __future__ import annotations

import json
from typing import Any

import click


def task_documents(text: bytes) -> list[Any]:
    """Of an object, a list, or an object a line; payloads byte for byte. Raises UsageError."""
    import msgspec

    try:
        decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        if text.lstrip().startswith(b"["):
            found = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode(text)
        else:
            try:
                found = [decode(text)]
            except msgspec.DecodeError:
                found = [decode(line) for line in text.splitlines() if line.strip()]
    except msgspec.DecodeError as error:
        raise click.UsageError(f"tasks must be JSON objects: {error}") from None
    return [
        {name: bytes(raw) if name == "payload" else json.loads(bytes(raw)) for name, raw in it.items()}
        for it in found
    ]
