"""A task's way from its creation on as pieces of a bar: to scale, but for idle time, which folds. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

from attrs import frozen

from aq.engine import TaskView
from aq.instants import SECOND, Instant
from aq.outcome import AttemptStatus
from aq.task import FailureReason, Status

_FOLD_SHARE: Final = 0.5
"""An idle piece that would take more of the bar than this is folded."""
_FOLDED: Final = (5.0, 15.0)
"""Per cent of the bar that a folded piece takes: more of them for a longer one, and within these."""
_LEAST: Final = 0.6
"""Per cent that any other takes, so that it is seen."""
MOST_PIECES: Final = 120
"""Of a longer way the bar shows the latest."""


class Kind(StrEnum):
    """What a piece of the way is."""

    DELAY = "delay"
    """From the creation until it is due."""
    QUEUED = "queued"
    """Due, and not started yet: late."""
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"
    WAIT = "wait"
    """Until the next attempt is due: the wait of a retry, or until somebody retried it by hand."""
    AHEAD = "ahead"
    """That of it which is still to come."""


WORDS: Final = {
    Kind.DELAY: "waited to be due",
    Kind.QUEUED: "due, waited for its turn",
    Kind.RUNNING: "running",
    Kind.SUCCESS: "succeeded",
    Kind.FAILURE: "failed",
    Kind.UNKNOWN: "ended unknown",
    Kind.WAIT: "waited for the next attempt",
    Kind.AHEAD: "still to wait",
}
_IDLE: Final = frozenset({Kind.DELAY, Kind.WAIT, Kind.AHEAD, Kind.QUEUED})


@frozen
class Piece:
    """A part of the way. ``x`` and ``width`` are per cent of the bar."""

    kind: Kind
    at: Instant
    seconds: float
    attempt: int | None
    x: float = 0
    width: float = 0
    folded: bool = False

    @property
    def idle(self) -> bool:
        return self.kind in _IDLE


def path_of(view: TaskView, now: Instant) -> Sequence[Piece]:
    """The pieces in order, laid out over a bar of 100."""
    return laid_out(list(_pieces(view, now))[-MOST_PIECES:])


def _pieces(view: TaskView, now: Instant) -> Iterator[Piece]:
    task, at = view.task, view.task.created_at
    before = Kind.DELAY

    def piece(kind: Kind, end: Instant, attempt: int | None = None) -> Iterator[Piece]:
        nonlocal at
        if end > at:
            yield Piece(kind, at, (end - at) / SECOND, attempt)
            at = end

    for attempt in view.attempts:
        yield from piece(before, min(attempt.executed_at, attempt.executed_at - attempt.lateness_us))
        yield from piece(Kind.QUEUED, attempt.executed_at)
        at = max(at, attempt.executed_at)
        yield from piece(_ended(attempt.status), at + max(1, attempt.duration_us), attempt.number)
        before = Kind.WAIT
    if task.status is Status.ACTIVE and task.started_at is not None:
        yield from piece(before, min(task.due_at, task.started_at))
        yield from piece(Kind.QUEUED, task.started_at)
        yield from piece(Kind.RUNNING, now, task.attempt)
    elif task.status is Status.PENDING:
        yield from piece(before, min(task.due_at, now))
        yield from piece(Kind.QUEUED, now)
        yield from piece(Kind.AHEAD, task.due_at)
    elif task.failure_reason is FailureReason.EXPIRED and task.finished_at is not None:
        yield from piece(before, task.finished_at)


def _ended(status: AttemptStatus) -> Kind:
    if status is AttemptStatus.UNKNOWN:
        return Kind.UNKNOWN
    return Kind.SUCCESS if status is AttemptStatus.SUCCESS else Kind.FAILURE


def laid_out(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """The same with their places. Beside work idle pieces fold while one would fill half of it."""
    folded: set[int] = set()
    while (longest := _longest_idle(pieces, folded)) is not None:
        folded.add(longest)
    total = sum(piece.seconds for place, piece in enumerate(pieces) if place not in folded)
    widths = [
        _folded(piece.seconds) if place in folded else max(_LEAST, 100 * piece.seconds / total)
        for place, piece in enumerate(pieces)
    ]
    scale, x, found = 100 / (sum(widths) or 1), 0.0, []
    for place, (piece, width) in enumerate(zip(pieces, widths, strict=True)):
        found.append(
            Piece(
                piece.kind,
                piece.at,
                piece.seconds,
                piece.attempt,
                round(x, 2),
                round(width * scale, 2),
                place in folded,
            )
        )
        x += width * scale
    return found


def _folded(seconds: float) -> float:
    least, most = _FOLDED
    return min(most, least + 1.6 * math.log10(1 + seconds))


def _longest_idle(pieces: Sequence[Piece], folded: set[int]) -> int | None:
    """The place of the piece to fold next."""
    shown = {place: piece for place, piece in enumerate(pieces) if place not in folded}
    if all(piece.idle for piece in shown.values()):
        return None
    longest = max(shown, key=lambda place: shown[place].seconds)
    if not shown[longest].idle:
        return None
    share = shown[longest].seconds / sum(piece.seconds for piece in shown.values())
    return longest if share > _FOLD_SHARE else None
