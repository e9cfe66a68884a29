"""One process at a time, held by the kernel: a lock that a dead process cannot leave behind."""

from __future__ import annotations

import fcntl
import logging
import os
from typing import Final

from aq.errors import StorageError

_NOT_SYNCED: Final = b"a sync failed\n"
_SIZE: Final = 64
logger = logging.getLogger(__name__)


class StoreLock:
    """An exclusive lock on ``PATH.lock``, from its making until `release`, or the end of the process.

    The file holds the process id of its holder and stays when it is released: removing it would let two
    processes lock two files of one name. Only its owner may open it, for whoever can may hold the lock. A
    second line says that a sync failed (``not_synced``), until `synced`; it need not outlive the power, since
    what it warns of does not. Raises StorageError when the lock is taken, by this very process too, or when
    the file cannot be made.
    """

    def __init__(self, path: str) -> None:
        self._path = path + ".lock"
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            line, _, _ = os.read(self._descriptor, 20).partition(b"\n")
            holder = line.decode(errors="replace") or "unknown"
            os.close(self._descriptor)
            raise StorageError(
                f"{path} is in use by process {holder}; one process at a time may open a SQLite store:"
                " end that one, or take another file"
            ) from error
        except OSError as error:
            os.close(self._descriptor)
            raise StorageError(f"cannot lock {path}.lock: {error.strerror}") from error
        self.not_synced = _NOT_SYNCED in os.read(self._descriptor, 100)
        self._write()

    def sync_failed(self) -> None:
        self.not_synced = True
        self._write()

    def synced(self) -> None:
        self.not_synced = False
        self._write()

    def _write(self) -> None:
        """All at once, over what is there: neither a crash nor a full disk loses the mark."""
        text = f"{os.getpid()}\n".encode() + (_NOT_SYNCED if self.not_synced else b"")
        try:
            os.pwrite(self._descriptor, text.ljust(_SIZE, b"\n"), 0)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._path, error.strerror)

    def release(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
