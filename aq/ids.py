"""Ids that sort by creation. Pure: time and randomness are arguments.

``task_`` + 26 characters of Crockford's base 32: 13 for a 63-bit *sequence* (48 bits of Unix milliseconds,
then a 15-bit counter within the millisecond) and 13 for 65 random bits, so that an id cannot be guessed.
The sequence is strictly increasing within one store, also over restarts and steps of the wall clock: the
minter starts above the highest sequence the store has seen. Creation order is id order, and a storage may use
the sequence, an integer, as its row key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from aq.instants import Instant

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH: Final = 26
_HALF: Final = LENGTH // 2
_COUNTER_BITS: Final = 15
_RANDOM_BITS: Final = 65
_DRAWN_AT_ONCE: Final = 32
"""Ids whose random bits are drawn together: a draw from the system's source is a call to the kernel."""
_PAIRS: Final = [a + b for a in ALPHABET for b in ALPHABET]
_ID: Final = re.compile(f"[^_]*_([{ALPHABET}]{{{_HALF}}})[{ALPHABET}]{{{_HALF}}}")
_DIGITS: Final = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")
"""To the digits of `int`."""


class IdMinter:
    """Mints ids for one store.

    ``random_bits(n)`` returns ``n`` random bits as an integer (``random.Random.getrandbits``, or a seeded
    one); ``floor`` is the highest sequence already used.
    """

    def __init__(self, random_bits: Callable[[int], int], floor: int = 0) -> None:
        self._random_bits = random_bits
        self._last = floor
        self._drawn, self._left = 0, 0

    @property
    def last(self) -> int:
        """The highest sequence in use: of the latest id, or the floor."""
        return self._last

    def mint(self, now: Instant, prefix: str = "task_") -> str:
        """An id above every one before it. A burst of over 32,768 in a millisecond borrows from the next."""
        self._last = max(self._last + 1, now // 1000 << _COUNTER_BITS)
        return prefix + _base32(self._last) + _base32(self._some_bits())

    def _some_bits(self) -> int:
        if not self._left:
            self._drawn, self._left = self._random_bits(_RANDOM_BITS * _DRAWN_AT_ONCE), _DRAWN_AT_ONCE
        self._left -= 1
        self._drawn, bits = divmod(self._drawn, 1 << _RANDOM_BITS)
        return bits


def first_sequence_at(instant: Instant) -> int:
    """No id made at that instant or later has a lower sequence."""
    return max(0, instant // 1000 << _COUNTER_BITS)


def sequence_of(task_id: str) -> int | None:
    """The 63-bit sequence inside an id; None for a text that no minter can have made."""
    match = _ID.fullmatch(task_id)
    if match is None:
        return None
    sequence = int(match[1].translate(_DIGITS), 32)
    return sequence if sequence < 1 << 63 else None


def just_above(task_id: str) -> str | None:
    """The lowest id above all of a task's sequence; None for a text that no minter can have made."""
    sequence = sequence_of(task_id)
    if sequence is None:
        return None
    return task_id.partition("_")[0] + "_" + _base32(sequence + 1) + _base32(0)


def _base32(value: int) -> str:
    """13 characters for 65 bits, the highest first."""
    high, low = divmod(value, 1 << 30)
    return (
        f"{ALPHABET[high >> 30]}{_PAIRS[high >> 20 & 1023]}{_PAIRS[high >> 10 & 1023]}{_PAIRS[high & 1023]}"
        f"{_PAIRS[low >> 20]}{_PAIRS[low >> 10 & 1023]}{_PAIRS[low & 1023]}"
    )
