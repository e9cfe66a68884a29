"""Virtual time and a repeatable scheduler: one seed, one run, on every interpreter.

Trio runs what is runnable in an order of chance. `run` draws that chance from the seed, so that the order is
both repeatable and, over many seeds, every one there can be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any, Final, TypeVar

import trio
import trio.testing
from trio._core import _run

from aq.instants import SECOND, Instant

EPOCH: Final = 1_790_000_000
"""The wall clock (Unix seconds) when a simulated world begins."""
T = TypeVar("T")


_stepped: Final = trio.lowlevel.RunVar[float]("aq.sim: by how many seconds the wall clock was set", default=0)
_ahead: Final = trio.lowlevel.RunVar[Instant]("aq.sim: service clock ahead of virtual time", default=0)


def now() -> Instant:
    """The instant on the service clock, as it must be: see `begin`."""
    return _unstepped() + _ahead.get()


def wall() -> float:
    """The wall clock of the simulated world, in Unix seconds."""
    return EPOCH + trio.current_time() + _stepped.get()


def step(seconds: float) -> None:
    """The wall clock is set, so many seconds forward or back; virtual time goes on as before."""
    _stepped.set(_stepped.get() + seconds)


def begin(floor: Instant) -> None:
    """A service starts: its clock begins at the wall clock, not below ``floor``, and is never set later."""
    _ahead.set(max(round(_stepped.get() * SECOND), floor - _unstepped()))


def _unstepped() -> Instant:
    return EPOCH * SECOND + round(trio.current_time() * SECOND)


def run(seed: int, main: Callable[[], Awaitable[T]], *, at_rest: Callable[[], None] = lambda: None) -> T:
    """What ``main`` returns, run on virtual time that jumps on whenever everybody waits for it.

    ``at_rest`` is called before each jump: all that could happen at that instant has happened. Nothing in
    there may wait for threads, sockets or processes. Raises RuntimeError when nothing could happen any more.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    whole = trio.CancelScope()

    def jump() -> None:
        at_rest()
        deadline = _run.GLOBAL_RUN_CONTEXT.runner.deadlines.next_deadline()
        if deadline == inf:
            whole.cancel()
        else:
            clock._virtual_base = max(clock._virtual_base, deadline)

    async def live() -> T:
        with whole:
            return await main()
        raise RuntimeError("everybody waits, and for nothing that time could bring")

    clock._autojump = jump  # type: ignore[method-assign]
    with _seeded(seed):
        return trio.run(live, clock=clock)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Trio's chance comes from a seed, as it does under Hypothesis; afterwards it is what it was."""
    module: Any = _run
    before, state = module._ALLOW_DETERMINISTIC_SCHEDULING, module._r.getstate()
    module._ALLOW_DETERMINISTIC_SCHEDULING = True
    module._r.seed(seed)
    try:
        yield
    finally:
        module._ALLOW_DETERMINISTIC_SCHEDULING = before
        module._r.setstate(state)
