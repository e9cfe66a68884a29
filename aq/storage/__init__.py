"""Where tasks are kept. `open_storage` opens one by its URL; `protocol` says what each promises.

protocol      the promises, numbered
draft         the rules of a commit, once for every storage
memory        everything in this process, gone with it
sqlite        one file, on disk before the answer
conformance   the promises as checks, for any storage
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final

from aq.errors import FieldError, ValidationError
from aq.storage.memory import open_memory
from aq.storage.protocol import Storage
from aq.storage.sqlite import open_sqlite
from aq.storage.sqlite.backup import Backup

_SQLITE: Final = "sqlite:///"


def open_storage(url: str) -> AbstractAsyncContextManager[Storage]:
    """A storage by its URL: ``memory:``, or ``sqlite:///PATH`` (``sqlite:///aq.db`` is a relative path,
    ``sqlite:////var/lib/aq.db`` an absolute one; nothing in it is percent-decoded).

    Raises ValidationError for any other URL. Entering raises StorageError when the storage cannot be used.
    """
    if url == "memory:":
        return open_memory()
    if (path := path_of(url)) is not None:
        return open_sqlite(path)
    if url.startswith(("postgres:", "postgresql:")):
        message = "names PostgreSQL, which this version does not speak; use sqlite:///PATH or memory:"
    else:
        message = "must be sqlite:///PATH or memory:"
    raise ValidationError([FieldError("storage", message)])


def backup_of(url: str, target: str, *, replace: bool = False) -> Backup:
    """What copies a store, in use or not, to a file that `open_storage` opens; see `Backup`.

    Raises ValidationError for the URL of what is on no disk.
    """
    if (path := path_of(url)) is None:
        raise ValidationError([FieldError("storage", "must be sqlite:///PATH to be copied")])
    return Backup(path, target, replace=replace)


def path_of(url: str) -> str | None:
    """The file of a store, where it is one."""
    path = url.removeprefix(_SQLITE)
    return path if path != url and path else None
