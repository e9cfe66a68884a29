"""Commands on Trio: an error is told as itself, whatever nurseries it met."""

from __future__ import annotations

import pytest

from aq.cli.loop import run


async def ends(error: BaseException) -> None:
    raise error


def test_an_error_alone_in_groups_is_itself() -> None:
    with pytest.raises(OSError, match="taken"):
        run(ends, ExceptionGroup("outer", [ExceptionGroup("inner", [OSError("taken")])]))


def test_of_several_it_is_the_interrupt_that_counts() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(ends, BaseExceptionGroup("", [OSError(), BaseExceptionGroup("", [KeyboardInterrupt()])]))


def test_several_stay_together() -> None:
    with pytest.raises(ExceptionGroup):
        run(ends, ExceptionGroup("", [OSError(), ValueError()]))


async def answers(number: int) -> int:
    return number


def test_a_result_is_the_result() -> None:
    assert run(answers, 4) == 4
