"""One process at a time, held by the kernel: a lock that a dead process cannot leave behind."""

from __future__ import annotations

import fcntl
import os

from aq.errors import StorageError


class StoreLock:
    """An exclusive lock on ``PATH.lock``, from its making until `release`, or the end of the process.

    The file holds the process id of its holder and stays when it is released: removing it would let two
    processes lock two files of one name. Only its owner may open it, for whoever can may hold the lock.
    Raises StorageError when the lock is taken, by this very process too, or when the file cannot be made.
    """

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StorageError(
                f"{path} is in use by process {holder}; one process at a time may open a SQLite store"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
