"""Which service a command talks to, and with which key."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from aq.devfile import KEY, NAME, URL, DevFileError, read

DEFAULT_URL: Final = "http://127.0.0.1:8080"


def dev_values() -> dict[str, str]:
    """What the `aq serve --dev` of this folder left. Raises UsageError for a file not to be trusted."""
    try:
        return read(Path(NAME))
    except DevFileError as error:
        raise click.UsageError(str(error)) from None


def address(url: str | None, key: str | None) -> tuple[str, str]:
    """The service's URL and a key for it: as given, else of this folder's `aq serve --dev`.

    That one's key goes nowhere else. Raises UsageError where there is no key.
    """
    found = dev_values() if url is None or key is None else {}
    url = (url or found.get(URL) or DEFAULT_URL).rstrip("/")
    if key is None and url == found.get(URL):
        key = found.get(KEY)
    if key is None:
        raise click.UsageError(
            f"no API key for {url}: set AQ_API_KEY, or give --api-key"
            " (neither is needed in the folder where `aq serve --dev` runs)"
        )
    return url, key
