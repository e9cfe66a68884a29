from __future__ import annotations

import trio
import trio.testing

from aq.actors.capacity import Capacity
from aq.task import Environment, QueueKey

A, B, C = (QueueKey(Environment.LIVE, name) for name in "abc")


def test_places_are_granted_while_there_are_any() -> None:
    capacity = Capacity(3)
    assert capacity.claim(A, 2, lambda: None) == 2
    assert capacity.claim(B, 2, lambda: None) == 1
    assert capacity.claim(C, 1, lambda: None) == 0
    assert capacity.in_use == 3


def test_a_released_place_goes_to_who_waited_longest_not_to_who_released_it() -> None:
    woken: list[str] = []
    capacity = Capacity(1)
    assert capacity.claim(A, 1, lambda: woken.append("a")) == 1
    assert capacity.claim(B, 1, lambda: woken.append("b")) == 0
    assert capacity.claim(C, 1, lambda: woken.append("c")) == 0
    assert capacity.claim(A, 5, lambda: woken.append("a")) == 0
    capacity.release()
    assert woken == ["b"]
    assert capacity.claim(A, 5, lambda: woken.append("a")) == 0  # set aside for b
    assert capacity.claim(B, 1, lambda: woken.append("b")) == 1
    capacity.release()
    assert woken == ["b", "c"]
    assert capacity.claim(C, 1, lambda: None) == 1
    capacity.release()
    assert woken == ["b", "c", "a"]


def test_a_place_set_aside_and_not_wanted_any_more_goes_on() -> None:
    woken: list[str] = []
    capacity = Capacity(1)
    capacity.claim(A, 1, lambda: None)
    capacity.claim(B, 1, lambda: woken.append("b"))
    capacity.claim(C, 1, lambda: woken.append("c"))
    capacity.release()
    assert capacity.claim(B, 0, lambda: None) == 0  # its task was deleted meanwhile
    assert woken == ["b", "c"]
    assert capacity.claim(C, 1, lambda: None) == 1


def test_a_queue_that_leaves_takes_no_place_with_it() -> None:
    woken: list[str] = []
    capacity = Capacity(2)
    capacity.claim(A, 2, lambda: None)
    capacity.claim(B, 1, lambda: woken.append("b"))
    capacity.claim(C, 2, lambda: woken.append("c"))
    capacity.release()
    capacity.leave(B, 0)  # with a place set aside
    assert woken == ["b", "c"]
    capacity.leave(A, 1)
    assert capacity.in_use == 0
    assert capacity.claim(C, 2, lambda: None) == 2


async def test_waiting_for_the_last_attempt() -> None:
    capacity = Capacity(2)
    await capacity.wait_idle()
    capacity.claim(A, 2, lambda: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(capacity.wait_idle)
        await trio.testing.wait_all_tasks_blocked()
        capacity.release()
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        capacity.release()
