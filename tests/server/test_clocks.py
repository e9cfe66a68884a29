"""The clock that Trio runs on, and the watch over the wall clock."""

from __future__ import annotations

import logging
import time

import pytest
import trio
import trio.testing

from aq.clock import ServiceClock
from aq.server import BootClock, watch_wall_clock


async def test_a_step_of_the_wall_clock_is_logged_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    step = 0.0
    clock = ServiceClock(wall=lambda: 1_800_000_000 + trio.current_time() + step)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_wall_clock, clock)
        for step, lines in ((0, 0), (0.9, 0), (3600, 1), (3600, 1), (3600.5, 1), (-5, 2), (0, 3)):  # noqa: B007 - the lambda reads it
            await trio.sleep(5)
            assert len(caplog.records) == lines
        nursery.cancel_scope.cancel()
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert "+3600.0 s" in caplog.text


def test_trio_runs_on_the_boot_time_clock() -> None:
    async def main() -> tuple[float, float, float]:
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        await trio.sleep(0.001)
        return before, trio.current_time(), time.clock_gettime(time.CLOCK_BOOTTIME)

    before, now, after = trio.run(main, clock=BootClock())
    assert before < now <= after
