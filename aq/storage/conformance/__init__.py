"""The promises of `aq.storage.protocol` as checks, one per promise, for any storage.

For each of `CASES` make a fresh store and ``await case(factory)``; for a durable storage also each of
`DURABLE_CASES`. A *factory* opens that one store: called again after the first opening was closed, it opens
the same store again. A check raises AssertionError, also under ``python -O``, quoting the rule's number.
No test framework is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aq.storage.conformance import claims, deleting, durable, lists, ordering, reading, windows, writing
from aq.storage.conformance.bench import Case, Factory

__all__ = ["CASES", "DURABLE_CASES", "Case", "Factory"]

CASES: Final[Sequence[Case]] = (
    *writing.CASES,
    *deleting.CASES,
    *ordering.CASES,
    *claims.CASES,
    *reading.CASES,
    *lists.CASES,
    *windows.CASES,
)
DURABLE_CASES: Final[Sequence[Case]] = durable.DURABLE_CASES
