"""The table of transitions, retries and backoff."""

from __future__ import annotations

from random import Random

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from aq.ids import IdMinter
from aq.instants import SECOND
from aq.lifecycle import (
    MAX_RETRY_AFTER,
    TRANSITIONS,
    UNKNOWNS_FORGIVEN,
    Event,
    ended,
    interrupted,
    started,
    submitted,
)
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.policy import Backoff, QueuePolicy
from aq.task import Environment, FailureReason, NewTask, QueueKey, Status, Task

NOW = 1_790_000_000 * SECOND
STEADY = QueuePolicy(retry_jitter=0)


def fresh(**fields: object) -> Task:
    new = NewTask("q", "http://h/", **fields)  # type: ignore[arg-type]
    task_id = IdMinter(Random(1).getrandbits).mint(NOW)
    key = QueueKey(Environment.LIVE, "q")
    return submitted(new, task_id=task_id, queue=key, now=NOW)


def fail_until_the_end(task: Task, policy: QueuePolicy) -> tuple[Task, list[int]]:
    """The task at its end, and the waits between its attempts in microseconds."""
    waits: list[int] = []
    now = task.due_at
    while not task.status.final:
        now = max(now, task.due_at) + 7 * SECOND  # an attempt takes 7 s
        task, attempt = ended(
            started(task, now - 7 * SECOND), Outcome.failure("no"), policy, now=now, chance=0
        )
        assert attempt.number == len(waits) + 1
        waits += [task.due_at - now] if task.status is Status.PENDING else []
    return task, waits


def test_a_task_is_due_after_its_delay() -> None:
    task = fresh(delay=300, priority=8, max_retries=3)
    assert (task.status, task.priority, task.version, task.attempt) == (Status.PENDING, 8, 1, 0)
    assert task.due_at == NOW + 300 * SECOND


@given(st.integers(0, 12))
def test_max_retries_counts_retries(max_retries: int) -> None:
    task, waits = fail_until_the_end(fresh(max_retries=max_retries), STEADY)
    assert (task.status, task.failure_reason) == (Status.FAILED, FailureReason.EXHAUSTED)
    assert task.attempt == max_retries + 1
    assert len(waits) == max_retries


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [
        (Backoff.EXPONENTIAL, [1, 2, 4, 8, 16, 20, 20]),
        (Backoff.LINEAR, [1, 2, 3, 4, 5, 6, 7]),
        (Backoff.FIXED, [1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_backoff_counts_from_the_attempts_end(backoff: Backoff, seconds: list[int]) -> None:
    policy = evolve(STEADY, retry_backoff=backoff, retry_delay_max=20)
    _, waits = fail_until_the_end(fresh(max_retries=7), policy)
    assert waits == [s * SECOND for s in seconds]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_jitter_only_adds(failures: int, chance: float, jitter: float) -> None:
    least = QueuePolicy(retry_jitter=0).retry_wait_us(failures, chance)
    wait = QueuePolicy(retry_jitter=jitter).retry_wait_us(failures, chance)
    assert least <= wait <= least * (1 + jitter) + 1


@pytest.mark.parametrize(("asked", "wait"), [(0.5, 1), (30, 30), (10**9, MAX_RETRY_AFTER), (None, 1)])
def test_retry_after_wins_when_it_is_later(asked: float | None, wait: int) -> None:
    task, _ = ended(
        started(fresh(), NOW), Outcome.failure("no", retry_after=asked), STEADY, now=NOW, chance=0
    )
    assert task.due_at == NOW + wait * SECOND


def test_gone_is_for_good() -> None:
    gone = Outcome(status=AttemptStatus.FAILURE, error_type=ErrorType.GONE, response_code=410)
    task, attempt = ended(started(fresh(), NOW), gone, STEADY, now=NOW + 5, chance=0)
    assert (task.status, task.failure_reason) == (Status.FAILED, FailureReason.GONE)
    assert (task.finished_at, attempt.duration_us, attempt.response_code) == (NOW + 5, 5, 410)


def test_success_completes() -> None:
    task, attempt = ended(started(fresh(), NOW + 3), Outcome.success(), STEADY, now=NOW + 9, chance=0)
    assert (task.status, task.finished_at, task.started_at) == (Status.COMPLETED, NOW + 9, None)
    assert (attempt.status, attempt.executed_at, attempt.lateness_us) == ("success", NOW + 3, 3)


def test_an_interrupted_attempt_costs_no_retry_five_times_in_a_row() -> None:
    task = fresh(max_retries=0)
    for number in range(1, UNKNOWNS_FORGIVEN + 1):
        task, attempt = interrupted(started(task, NOW), STEADY, now=NOW + 1, chance=0)
        assert (attempt.number, attempt.status) == (number, AttemptStatus.UNKNOWN)
        assert (task.status, task.due_at, task.failures) == (Status.PENDING, NOW + 1, 0)
    task, _ = interrupted(started(task, NOW + 1), STEADY, now=NOW + 2, chance=0)
    assert task.status is Status.FAILED


def test_a_known_outcome_ends_the_row_of_unknowns() -> None:
    task, _ = interrupted(started(fresh(), NOW), STEADY, now=NOW, chance=0)
    task, _ = ended(started(task, NOW), Outcome.failure("no"), STEADY, now=NOW, chance=0)
    assert (task.unknowns, task.failures) == (0, 1)


def test_every_change_raises_the_version() -> None:
    one = fresh()
    two = started(one, NOW)
    three, _ = ended(two, Outcome.success(), STEADY, now=NOW, chance=0)
    assert [one.version, two.version, three.version] == [1, 2, 3]


def test_final_states_are_final_but_for_a_retry_by_hand() -> None:
    leaving = [(state, event) for state, event in TRANSITIONS if state is not None and state.final]
    assert leaving == [(Status.FAILED, Event.REVIVED)]
    done, _ = ended(started(fresh(), NOW), Outcome.success(), STEADY, now=NOW, chance=0)
    with pytest.raises(ValueError, match="completed: it cannot be started"):
        started(done, NOW)
    with pytest.raises(ValueError, match="no attempt running"):
        ended(done, Outcome.success(), STEADY, now=NOW, chance=0)


def test_every_event_is_in_the_table() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event)
