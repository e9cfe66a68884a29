"""One attempt, under one total deadline; whatever happens becomes an outcome."""

from __future__ import annotations

import logging
from traceback import format_exception_only
from typing import Final

import trio

from aq.delivery.protocol import Delivery, Runner
from aq.outcome import AttemptStatus, ErrorType, Outcome

_ENDS: Final = (trio.Cancelled, KeyboardInterrupt, SystemExit)
logger = logging.getLogger(__name__)


async def run_attempt(runner: Runner, delivery: Delivery) -> Outcome:
    """Run ``runner`` for at most ``delivery.timeout`` seconds. Only what ends the program escapes."""
    try:
        with trio.move_on_after(delivery.timeout) as deadline:
            outcome = await runner(delivery)
    except BaseException as error:
        if _ends_the_program(error):
            raise
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


def _ends_the_program(error: BaseException) -> bool:
    """Also within a group. Anything else is the runner's own, asyncio's CancelledError among it."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(_ENDS) is not None
    return isinstance(error, _ENDS)


def _crashed(error: str) -> Outcome:
    return Outcome(status=AttemptStatus.ERROR, error_type=ErrorType.UNKNOWN, error=error)
