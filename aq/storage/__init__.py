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

_SQLITE: Final = "sqlite:///"


def open_storage(url: str) -> AbstractAsyncContextManager[Storage]:
    """A storage by its URL: ``memory:``, or ``sqlite:///PATH`` (``sqlite:///aq.db`` is a relative path,
    ``sqlite:////var/lib/aq.db`` an absolute one; nothing in it is percent-decoded).

    Raises ValidationError for any other URL. Entering raises StorageError when the storage cannot be used.
    """
    if url == "memory:":
        return open_memory()
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return open_sqlite(url.removeprefix(_SQLITE))
    if url.startswith(("postgres:", "postgresql:")):
        message = "names PostgreSQL, which this version does not speak; use sqlite:///PATH or memory:"
    else:
        message = "must be sqlite:///PATH or memory:"
    raise ValidationError([FieldError("storage", message)])
