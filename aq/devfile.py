"""``.aq.env``: how the command ``aq`` finds a development server that was started in the same folder.

``aq serve --dev`` writes it once it is ready and removes it at its end. It has secrets, so it is its owner's
only. The file of a server that was killed stays: then nothing answers at its address, or another server that
does not know its key. A shell can read it too (``set -a; . ./.aq.env``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

NAME: Final = ".aq.env"
URL: Final = "AQ_URL"
KEY: Final = "AQ_API_KEY"
SECRET: Final = "AQ_SIGNING_SECRET"  # noqa: S105 - the name of a variable
_HEAD: Final = (
    "# Written by `aq serve --dev` for the command `aq` in this folder, and removed at its end.\n"
    "# It has secrets: keep it out of git.\n"
)
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_MOST_BYTES: Final = 10_000


class DevFileError(ValueError):
    """The file cannot be used, or not be written; for a person, with what to do."""


@contextmanager
def kept(path: Path, values: Mapping[str, str]) -> Iterator[None]:
    """The file with these values, until the block is left; one that another server wrote meanwhile stays.

    Raises DevFileError when it cannot be written, or is somebody's own.
    """
    text = _HEAD + "".join(f"{name}={value}\n" for name, value in values.items())
    _write(path, text)
    try:
        yield
    finally:
        if _text(path) == text:
            path.unlink(missing_ok=True)


def read(path: Path) -> dict[str, str]:
    """What it says; nothing where it is not. Raises DevFileError for one that is not to be trusted."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DevFileError(f"{path}: {error.strerror}; remove it") from None
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise DevFileError(f"{path} is not this user's only; remove it, or chmod 600 it if it is yours")
        lines = file.read(_MOST_BYTES).splitlines()
    values = dict(line.partition("=")[::2] for line in lines if "=" in line and not line.startswith("#"))
    if urlsplit(values.get(URL, "")).hostname not in _LOOPBACK:
        raise DevFileError(f"{path} names no server of this machine; remove it")
    return values


def _write(path: Path, text: str) -> None:
    found = _text(path)
    if found is not None and not found.startswith(_HEAD):
        raise DevFileError(f"{path} is there and not by `aq serve --dev`; it stays as it is")
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        beside.rename(path)
    except OSError as error:
        raise DevFileError(f"cannot write {path}: {error.strerror}") from None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
