"""Everything that can go wrong and be told to a caller. One root; each error knows its HTTP status.

``str(error)`` is one line for a person that says what to do where something can be done. The API turns an
error into ``application/problem+json`` (RFC 9457) from these attributes; library users catch the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from attrs import frozen


class AsyncQueueError(Exception):
    """The root. ``status`` is the HTTP status, ``title`` the short fixed name of the kind of problem."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"


@frozen
class FieldError:
    """One wrong field: its path as the caller wrote it (``priority``, ``tasks[2].queue``) and why."""

    field: str
    message: str


MOST_IN_A_LINE: Final = 20
"""So many wrong fields are told in one line for people."""


class ValidationError(AsyncQueueError):
    """One or more fields are wrong; ``errors`` names every one of them, its text the first few."""

    status = 422
    title = "Invalid fields"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        told = [f"{error.field} {error.message}" for error in self.errors[:MOST_IN_A_LINE]]
        more = len(self.errors) - len(told)
        super().__init__("; ".join(told) + (f"; and {more:,} more" if more else ""))


def within(field: str, error: Exception) -> list[FieldError]:
    """A refusal told of the field whose value it is about, or of the fields within that."""
    if isinstance(error, ValidationError):
        return [FieldError(f"{field}.{it.field}", it.message) for it in error.errors]
    return [FieldError(field, str(error))]


class Gathering:
    """What several checks refuse, to be told at once: ``with gathering:`` for each, `check` in the end."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, ValidationError):
            self.errors += error.errors
            return True
        return False

    def check(self) -> None:
        """Raises ValidationError naming all that was refused, if anything was."""
        if self.errors:
            raise ValidationError(self.errors)


class NotFoundError(AsyncQueueError):
    """No such task, queue or route."""

    status = 404
    title = "Not found"


class ConflictError(AsyncQueueError):
    """The thing is there, but not in a state that allows this."""

    status = 409
    title = "Conflict"


class UnavailableError(AsyncQueueError):
    """Not now; try again after ``retry_after`` seconds. To a write it means: outcome unknown."""

    status = 503
    title = "Unavailable"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class OverloadedError(UnavailableError):
    """A bounded buffer is full."""

    title = "Overloaded"


class DrainingError(UnavailableError):
    """The service is stopping: it takes no more work."""

    title = "Shutting down"

    def __init__(self) -> None:
        super().__init__("the service is shutting down; try again in a moment", retry_after=5)


class QuarantinedError(UnavailableError):
    """The queue's supervisor crashed too often; its tasks are kept, nothing runs until it is resumed."""

    title = "Queue quarantined"

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"queue {queue!r} is quarantined after repeated crashes; its tasks are kept, see the log;"
            " resume it, or restart the service, to try again",
            retry_after=30,
        )


class StorageError(AsyncQueueError):
    """The storage cannot be used at all: locked by another process, of a newer version, not synced."""

    title = "Storage failed"


class StorageUnavailableError(UnavailableError):
    """A commit or a read failed for now; a commit may or may not have happened."""

    title = "Storage unavailable"


class StorageFullError(StorageUnavailableError):
    """No space left on the device: writes are refused until there is."""

    title = "Storage full"


class StorageCorruptError(StorageUnavailableError):
    """The integrity check found damage: nothing more is written."""

    title = "Storage damaged"
