"""How a task stands, in one sentence. Pure."""

from __future__ import annotations

from typing import Final

from aq.dashboard.words import span
from aq.engine import TaskView
from aq.explanation import Explanation, Why
from aq.instants import SECOND
from aq.outcome import AttemptStatus, ErrorType
from aq.task import Attempt, FailureReason, Status

_ERRORS: Final = {
    ErrorType.HTTP_429: "the receiver asked for fewer requests",
    ErrorType.GONE: "the receiver answered 410 Gone",
    ErrorType.REDIRECT: "the receiver answered with a redirect, which is not followed",
    ErrorType.TIMEOUT: "the receiver took too long",
    ErrorType.DNS: "the host's name has no address",
    ErrorType.CONNECT: "the host refused the connection",
    ErrorType.TLS: "no secure connection could be made",
    ErrorType.RESET: "the connection broke off",
    ErrorType.BLOCKED: "the destination is not one that webhooks may go to",
    ErrorType.TOO_LARGE: "the answer's head was too large",
    ErrorType.UNKNOWN: "it is not known how the attempt ended",
    ErrorType.EXPIRED: "its time ran out",
}


def sentence(view: TaskView, explanation: Explanation | None) -> str:
    """``Failed for good after 4 attempts: the host refused the connection``."""
    task, attempts = view.task, view.attempts
    if task.status is Status.COMPLETED:
        took = span(((task.finished_at or task.created_at) - task.created_at) / SECOND)
        which = "the first attempt" if task.attempt <= 1 else f"attempt {task.attempt}"
        return f"Completed by {which}, {took} after it was created"
    if task.status is Status.ACTIVE:
        return f"Attempt {task.attempt} is running"
    if task.status is Status.FAILED:
        return _failed(view)
    after = f" after {_attempts(len(attempts))} that failed" if attempts else ""
    reasons = () if explanation is None else explanation.reasons
    if any(reason.why is Why.SCHEDULED for reason in reasons):
        return f"Waits until it is due{after}" if not attempts else f"Waits for its next attempt{after}"
    return f"Due, and waits for its turn{after}"


def why(attempt: Attempt) -> str:
    """What went wrong with an attempt, in words; empty where nothing did."""
    if attempt.status is AttemptStatus.SUCCESS:
        return ""
    known = None if attempt.error_type is None else _ERRORS.get(attempt.error_type)
    if attempt.response_code is not None and known is None:
        return f"the receiver answered {attempt.response_code}"
    return known or attempt.error or "it failed"


def _failed(view: TaskView) -> str:
    task = view.task
    if task.failure_reason is FailureReason.EXPIRED:
        return f"Failed: its time ran out after {_attempts(task.attempt)}"
    told = "Failed" if task.failure_reason is FailureReason.GONE else "Failed for good"
    reason = f": {why(view.attempts[-1])}" if view.attempts else ""
    return f"{told} after {_attempts(task.attempt)}{reason}"


def _attempts(number: int) -> str:
    return "one attempt" if number == 1 else f"{number or 'no'} attempts"
