"""A task's way as a bar: its pieces are what happened, and to scale."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from attrs import evolve
from msgspec.structs import replace

from aq.dashboard.path import Kind, Piece, laid_out, path_of
from aq.engine import TaskView
from aq.instants import SECOND
from aq.outcome import AttemptStatus
from aq.storage.conformance.bench import MAIL, NOW
from aq.task import Attempt, FailureReason, Status, Task

ID = "task_01JDE3G5P00007CMS8H5KDRDQG"
FAILURE, SUCCESS = AttemptStatus.FAILURE, AttemptStatus.SUCCESS


def attempt(number: int, at: float, seconds: float, status: AttemptStatus, late: float = 0) -> Attempt:
    """Begun and lasting so many seconds, the first from the creation on."""
    return Attempt(number, status, NOW + round(at * SECOND), round(seconds * SECOND), round(late * SECOND))


def view(status: Status, *attempts: Attempt, due: float = 0, **fields: int) -> TaskView:
    task = Task(
        ID,
        MAIL,
        "https://example.com/",
        5,
        0,
        NOW,
        NOW + round(due * SECOND),
        status=status,
        attempt=fields.pop("attempt", len(attempts)),
        **{name: NOW + seconds * SECOND for name, seconds in fields.items()},  # type: ignore[arg-type]
    )
    return TaskView(task, b"{}", attempts, 3, 30)


def told(pieces: Sequence[Piece]) -> list[tuple[Kind, float, int | None]]:
    return [(piece.kind, piece.seconds, piece.attempt) for piece in pieces]


def test_what_happened_comes_piece_by_piece() -> None:
    done = view(
        Status.COMPLETED,
        attempt(1, 10.5, 2, FAILURE, late=0.5),
        attempt(2, 14.5, 1, AttemptStatus.UNKNOWN),
        attempt(3, 15.5, 3, SUCCESS),
        finished_at=19,
    )
    assert told(path_of(done, NOW + 100 * SECOND)) == [
        (Kind.DELAY, 10, None),
        (Kind.QUEUED, 0.5, None),
        (Kind.FAILURE, 2, 1),
        (Kind.WAIT, 2, None),
        (Kind.UNKNOWN, 1, 2),
        (Kind.SUCCESS, 3, 3),
    ]


def test_what_is_happening_and_what_is_to_come() -> None:
    running = view(Status.ACTIVE, attempt=1, started_at=2)
    assert told(path_of(running, NOW + 6 * SECOND)) == [(Kind.QUEUED, 2, None), (Kind.RUNNING, 4, 1)]
    waiting = view(Status.PENDING, attempt(1, 0, 1, FAILURE), due=9)
    assert told(path_of(waiting, NOW + 3 * SECOND)) == [
        (Kind.FAILURE, 1, 1),
        (Kind.WAIT, 2, None),
        (Kind.AHEAD, 6, None),
    ]
    late = view(Status.PENDING, due=4)
    assert told(path_of(late, NOW + 7 * SECOND)) == [(Kind.DELAY, 4, None), (Kind.QUEUED, 3, None)]
    expired = view(Status.FAILED, finished_at=8, due=60)
    expired = evolve(expired, task=replace(expired.task, failure_reason=FailureReason.EXPIRED))
    assert told(path_of(expired, NOW + 9 * SECOND)) == [(Kind.DELAY, 8, None)]


def test_a_piece_is_as_wide_as_it_is_long_and_idle_time_folds() -> None:
    day = 86_400.0
    pieces = [
        Piece(Kind.DELAY, 0, 3 * day, None),
        Piece(Kind.FAILURE, 0, 2, 1),
        Piece(Kind.WAIT, 0, day, None),
        Piece(Kind.SUCCESS, 0, 6, 2),
    ]
    first, failure, wait, success = laid_out(pieces)
    assert (first.folded, failure.folded, wait.folded, success.folded) == (True, False, True, False)
    assert success.width == pytest.approx(3 * failure.width, rel=0.01)
    assert first.width > wait.width
    assert success.width > first.width
    ends = [piece.x + piece.width for piece in (first, failure, wait, success)]
    assert ends == pytest.approx([failure.x, wait.x, success.x, 100], abs=0.1)


def test_where_there_is_nothing_but_idle_time_it_is_to_scale() -> None:
    past, ahead = laid_out([Piece(Kind.DELAY, 0, 60, None), Piece(Kind.AHEAD, 0, 5_940, None)])
    assert (past.folded, ahead.folded) == (False, False)
    assert (past.width, ahead.width) == (1, 99)


def test_work_never_folds_however_long_and_the_shortest_is_seen() -> None:
    pieces = [Piece(Kind.RUNNING, 0, 900, 1), Piece(Kind.SUCCESS, 0, 0.001, 2)]
    work, rest = laid_out(pieces)
    assert (work.folded, rest.folded) == (False, False)
    assert rest.width > 0.5
    assert [piece.width for piece in laid_out([Piece(Kind.DELAY, 0, 60, None)])] == [100]
    assert list(laid_out([])) == []
