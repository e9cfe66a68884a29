"""One attempt, under one total deadline; whatever happens becomes an outcome."""

from __future__ import annotations

import logging
from traceback import format_exception_only

import trio

from aq.delivery.protocol import Delivery, Runner
from aq.outcome import AttemptStatus, ErrorType, Outcome

logger = logging.getLogger(__name__)


async def run_attempt(runner: Runner, delivery: Delivery) -> Outcome:
    """Run ``runner`` for at most ``delivery.timeout`` seconds. Only trio.Cancelled escapes."""
    try:
        with trio.move_on_after(delivery.timeout) as deadline:
            outcome = await runner(delivery)
    except Exception as error:
        logger.exception("the runner crashed on %s", delivery.task_id)
        return _crashed(f"the runner raised {format_exception_only(error)[-1].strip()}")
    if deadline.cancelled_caught:
        return Outcome(
            status=AttemptStatus.TIMEOUT,
            error_type=ErrorType.TIMEOUT,
            error=f"no answer within {delivery.timeout:g} s",
            timing=delivery.stopwatch.timing(),
        )
    if not isinstance(outcome, Outcome):
        return _crashed(  # type: ignore[unreachable]  # a runner without type checks
            f"the runner returned {type(outcome).__name__}, not an Outcome"
        )
    return outcome


def _crashed(error: str) -> Outcome:
    return Outcome(status=AttemptStatus.ERROR, error_type=ErrorType.UNKNOWN, error=error)
