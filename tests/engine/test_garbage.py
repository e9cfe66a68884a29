"""What requests, attempts and commits made is freed at once, not when Python looks for cycles."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aq.opening import open_engine
from aq.task import NewTask
from tests.engine.support import FAILURE, SUCCESS, URL, Receiver, ended, submit


@contextmanager
def only_cycles() -> Iterator[Counter[str]]:
    """What of ours the block leaves in cycles, by type; known behind it."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(type(it).__name__ for it in gc.garbage if type(it).__module__.startswith("aq."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("storage", ["memory:", "sqlite"])
async def test_what_is_done_is_freed_at_once(storage: str, tmp_path: Path) -> None:
    where = storage if storage == "memory:" else f"sqlite:///{tmp_path}/aq.db"
    receiver = Receiver(answer=lambda delivery: FAILURE if delivery.queue.name == "bad" else SUCCESS)
    async with open_engine(where, runner=receiver) as engine:

        async def some_of_everything() -> None:
            for queue in ("good", "bad"):
                await ended(engine, await submit(engine, queue=queue, max_retries=0))
            for receipt in (await engine.submit_all([NewTask("good", URL)] * 3)).value:
                await ended(engine, receipt.task)
            await engine.delete((await submit(engine, delay=60)).id)

        await some_of_everything()  # what is made once may stay
        with only_cycles() as found:
            await some_of_everything()
        assert not found
