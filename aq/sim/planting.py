"""Faults planted from outside, to see that the simulator finds them.

with planted("aq.lifecycle:_judged", one_retry_more):
    assert any(simulate(seed).violations for seed in range(500))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from operator import attrgetter
from typing import Any


@contextmanager
def planted(where: str, fault: Callable[[Any], Any]) -> Iterator[None]:
    """In the block, what stands at ``module:name`` (or ``module:Class.name``) is what ``fault`` makes of it.

    A property is given and expected as a property, a function that is imported elsewhere by its name stays
    as it is there.
    """
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    owner = attrgetter(".".join(owners))(import_module(module)) if owners else import_module(module)
    original = vars(owner)[name]
    setattr(owner, name, fault(original))
    try:
        yield
    finally:
        setattr(owner, name, original)
