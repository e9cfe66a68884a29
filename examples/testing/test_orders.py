"""The tests of that part, on virtual time: a weekend passes in a second, and nothing sleeps.

python -m pytest examples/testing
"""

from __future__ import annotations

from typing import Any

import orders
import trio

from aq.engine import Engine
from aq.sim import Answer, Arrival, answering


def test_an_order_survives_a_weekend_without_the_partner(simulated: Any, simulated_network: Any) -> None:
    back_at = 60 * orders.HOUR

    async def partner(arrival: Arrival) -> Answer:
        return Answer(200 if trio.current_time() >= back_at else 503)

    simulated_network.endpoints[orders.PARTNER] = partner

    async def scenario(engine: Engine) -> None:
        await orders.prepare(engine)
        task = await orders.place(engine, 7, "ada")
        view = await engine.wait(task.id)
        assert view.task.status == "completed"
        assert back_at <= trio.current_time() < back_at + 1.1 * orders.HOUR  # jitter adds a tenth at most

    simulated(scenario)
    assert simulated_network.arrivals[-1].json()["payload"] == {"order": 7}


def test_the_next_order_of_a_customer_waits_for_the_first(simulated: Any, simulated_network: Any) -> None:
    simulated_network.endpoints[orders.PARTNER] = answering(503, 503, 200)

    async def scenario(engine: Engine) -> None:
        await orders.prepare(engine)
        placed = [await orders.place(engine, number, "ada") for number in (1, 2)]
        for task in placed:
            await engine.wait(task.id)

    simulated(scenario)
    assert [it.json()["payload"]["order"] for it in simulated_network.arrivals] == [1, 1, 1, 2]


def test_an_order_placed_twice_is_sent_once(simulated: Any, simulated_network: Any) -> None:
    simulated_network.endpoints[orders.PARTNER] = answering(200)

    async def scenario(engine: Engine) -> None:
        await orders.prepare(engine)
        first = await orders.place(engine, 1, "ada")
        again = await orders.place(engine, 1, "ada")
        assert again.id == first.id
        await engine.wait(first.id)

    simulated(scenario)
    assert len(simulated_network.arrivals) == 1


def test_after_three_days_an_order_has_failed(simulated: Any, simulated_network: Any) -> None:
    async def scenario(engine: Engine) -> None:
        await orders.prepare(engine)
        task = await orders.place(engine, 7, "ada")
        view = await engine.wait(task.id)
        assert view.task.status == "failed"
        assert view.task.failure_reason == "exhausted"
        assert 71 * orders.HOUR < trio.current_time() < 80 * orders.HOUR
        assert {attempt.error_type for attempt in view.attempts} == {"connect"}  # nobody listens there

    simulated(scenario)
