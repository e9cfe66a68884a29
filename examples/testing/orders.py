"""A part of an app: orders are handed to a partner, whose system may be down for long."""

from __future__ import annotations

from aq import NewTask
from aq.engine import Engine
from aq.task import Task

PARTNER = "https://partner.example"
HOUR = 3_600


async def prepare(engine: Engine) -> None:
    """Tried again after 1, 2, 4, … minutes, at most an hour; after some three days the order has failed."""
    await engine.queues.create("orders", max_retries=77, retry_delay=60, retry_delay_max=HOUR)


async def place(engine: Engine, number: int, customer: str) -> Task:
    """Orders of one customer reach the partner in the order in which they were placed."""
    return await engine.submit(
        NewTask(
            "orders",
            f"{PARTNER}/orders",
            {"order": number},
            ordering_key=customer,
            idempotency_key=f"order-{number}",  # placed twice, sent once
        )
    )
