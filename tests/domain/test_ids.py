from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from aq.ids import ALPHABET, LENGTH, IdMinter, just_above, sequence_of

NOW = 1_790_000_000_000_000


@given(st.lists(st.integers(-5_000_000, 5_000_000), min_size=2, max_size=50))
def test_ids_sort_by_creation_whatever_the_clock_does(steps: list[int]) -> None:
    minter, now, ids = IdMinter(Random(1).getrandbits), NOW, []
    for step in steps:
        now += step
        ids.append(minter.mint(now))
    assert ids == sorted(set(ids))
    sequences = [sequence_of(i) for i in ids]
    assert None not in sequences
    assert sequences == sorted(set(sequences))  # type: ignore[type-var]


def test_a_burst_within_one_millisecond_stays_increasing() -> None:
    minter = IdMinter(Random(1).getrandbits)
    ids = [minter.mint(NOW) for _ in range(40_000)]
    assert ids == sorted(set(ids))


def test_a_restart_goes_on_above_what_the_store_has_seen() -> None:
    before = IdMinter(Random(1).getrandbits).mint(NOW)
    floor = sequence_of(before)
    assert floor is not None
    after = IdMinter(Random(2).getrandbits, floor).mint(NOW - 3_600_000_000)  # the wall went back
    assert after > before


def test_the_form() -> None:
    task_id = IdMinter(Random(1).getrandbits).mint(NOW)
    assert task_id.startswith("task_")
    assert len(task_id) == len("task_") + LENGTH
    assert set(task_id[5:]) <= set(ALPHABET)
    assert sequence_of(task_id) == NOW // 1000 << 15


def test_the_tail_cannot_be_guessed() -> None:
    one, two = IdMinter(Random(1).getrandbits), IdMinter(Random(2).getrandbits)
    a, b = one.mint(NOW), two.mint(NOW)
    assert a[:18] == b[:18]
    assert a[18:] != b[18:]


def test_what_no_minter_made_has_no_sequence() -> None:
    for text in (
        "",
        "task_",
        "nonsense",
        "task_" + "0" * 25,
        "task_" + "u" * 26,
        "task_" + "Z" * 26,
        "task_é",
    ):
        assert sequence_of(text) is None, text
    assert sequence_of("task_" + "0" * 26) == 0


def test_just_above_a_task_lies_nothing_but_what_came_later() -> None:
    minter = IdMinter(lambda bits: (1 << bits) - 1)
    task_id, later = minter.mint(NOW), minter.mint(NOW)
    above = just_above(task_id)
    assert above is not None
    assert task_id < above < later
    assert sequence_of(above) == sequence_of(later)
    assert just_above("nonsense") is None
