from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aq.delivery.pool import Pool
from aq.target import Destination

A, B, C = (Destination("http", host, 80) for host in "abc")


def test_the_last_one_put_is_the_first_one_taken_and_of_its_destination() -> None:
    pool = Pool[str]()
    for number, destination in enumerate([A, B, A]):
        assert pool.put(destination, f"{destination.host}{number}", 0) == []
    assert [pool.take(A), pool.take(A), pool.take(A), pool.take(B), pool.take(C)] == [
        "a2",
        "a0",
        None,
        "b1",
        None,
    ]
    assert len(pool) == 0


@pytest.mark.parametrize("other", [A._replace(scheme="https"), A._replace(port=81), A._replace(host="b")])
def test_scheme_host_and_port_make_a_destination(other: Destination) -> None:
    pool = Pool[str]()
    pool.put(A, "a", 0)
    assert pool.take(other) is None


def test_over_a_bound_the_longest_idle_one_goes() -> None:
    pool = Pool[str](max_idle=3, max_per_destination=2)
    assert pool.put(A, "a0", 0) == []
    assert pool.put(A, "a1", 1) == []
    assert pool.put(A, "a2", 2) == ["a0"]
    assert pool.put(B, "b3", 3) == []
    assert pool.put(B, "b4", 4) == ["a1"]
    assert pool.clear() == ["a2", "b3", "b4"]
    assert len(pool) == 0
    assert pool.take(A) is None


def test_a_pool_of_none_keeps_none() -> None:
    assert Pool[str](max_idle=0).put(A, "a", 0) == ["a"]


def test_what_was_idle_for_too_long_goes_whatever_its_destination() -> None:
    pool = Pool[str](idle_s=30)
    pool.put(A, "a", 0)
    pool.put(B, "b", 10)
    pool.put(A, "c", 20)
    assert pool.expired(29.9) == []
    assert pool.expired(40) == ["a", "b"]
    assert pool.take(B) is None
    assert pool.take(A) == "c"


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "take", "expire"]), st.sampled_from([A, B, C]), st.integers(0, 9)
    )
)


@given(steps)
def test_the_pool_agrees_with_a_plain_list(plan: list[tuple[str, Destination, int]]) -> None:
    pool = Pool[int](max_idle=4, max_per_destination=2, idle_s=10)
    kept: list[tuple[int, Destination, int]] = []  # (connection, destination, since), oldest first
    now = 0
    for number, (step, destination, passed) in enumerate(plan):
        now += passed
        if step == "put":
            kept.append((number, destination, now))
            same = [it for it in kept if it[1] == destination]
            going = same[:1] if len(same) > 2 else kept[:1] if len(kept) > 4 else []
            assert pool.put(destination, number, now) == [it[0] for it in going]
        elif step == "take":
            going = [it for it in kept if it[1] == destination][-1:]
            assert pool.take(destination) == next((it[0] for it in going), None)
        else:
            going = [it for it in kept if now - it[2] >= 10]
            assert pool.expired(now) == [it[0] for it in going]
        kept = [it for it in kept if it not in going]
        assert len(pool) == len(kept)
    assert pool.clear() == [it[0] for it in kept]
