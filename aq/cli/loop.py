"""Commands that wait for several things at once run on Trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Args = TypeVarTuple("Args")


def run(function: Callable[[*Args], Awaitable[T]], *args: *Args) -> T:
    """`trio.run`; an error is raised as itself and not in the groups of the nurseries that it met.

    Of several it is ^C that counts.
    """
    import trio

    try:
        return trio.run(function, *args)
    except BaseExceptionGroup as group:
        interrupts, errors = group.split(KeyboardInterrupt)
        if interrupts is not None:
            raise KeyboardInterrupt from None
        error: BaseException = errors or group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
