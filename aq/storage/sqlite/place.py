"""Whether the files are still those that were opened: somebody may move or delete them meanwhile."""

from __future__ import annotations

import os
from typing import Final

from aq.errors import StorageError

PUT_BACK: Final = (
    "put it back beside its -wal file (to restore a backup, move that aside first), then restart the service"
)
"""What to do then, for a person."""


class Place:
    """The store and its write-ahead log as their names stood when they were first seen."""

    def __init__(self, path: str) -> None:
        self._seen: dict[str, tuple[int, int] | None] = {path: None, f"{path}-wal": None}

    def lost(self) -> str | None:
        """Which name is another file's now, or nobody's, for a person; None when all is in its place."""
        for path, before in self._seen.items():
            now = _identity(path)
            if before is None:
                self._seen[path] = now
            elif now != before:
                return f"the file was moved or deleted: {path} is no longer the one that was opened"
        return None


def require_writable(path: str) -> None:
    """Raises StorageError where one may not write: SQLite would leave a log that is not writable either."""
    folder = os.path.dirname(path)
    for needed, what in ((folder, f"make files in {folder}"), (path, "read and write it")):
        if os.path.exists(needed) and not os.access(needed, os.R_OK | os.W_OK, effective_ids=True):
            raise StorageError(f"cannot open {path}: this user may not {what}; change its owner or mode")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
