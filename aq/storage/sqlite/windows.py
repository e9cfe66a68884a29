"""The head of what waits in a queue (rule 12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from aq.instants import Instant
from aq.storage.answers import Aside, Entry, Window
from aq.storage.sqlite import statements as sql
from aq.storage.sqlite.connection import Connection
from aq.storage.sqlite.statements import given

LOOKED_AT: Final = 2
"""Due tasks passed over for each that is wanted, before the destinations are walked one by one."""
_LEAST_SHARE: Final = 4
_ENTRIES: Final = msgspec.json.Decoder(list[Entry])
_WALKS: Final = msgspec.json.Decoder(list[list[Entry]])


def window(
    db: Connection, queue_id: int, now: Instant, limit: int, aside: Sequence[str], most: int
) -> Window:
    """``most`` is how many are given of each destination in ``aside``."""
    wanted = limit + 1
    if aside:
        due = _elsewhere(db, queue_id, now, wanted, given(aside))
        apart = _apart(db, queue_id, now, list(dict.fromkeys(aside)), most)
    else:
        due = _entries(db, sql.DUE, (queue_id, now, wanted))
        apart = {}
    upcoming = _entries(db, sql.UPCOMING, (*(queue_id, now) * len(sql.PRIORITIES), wanted))
    return Window(due[:limit], len(due) <= limit, upcoming[:limit], len(upcoming) <= limit, apart)


def _apart(
    db: Connection, queue_id: int, now: Instant, aside: Sequence[str], most: int
) -> Mapping[str, Aside]:
    """The first due tasks of each destination: those in lanes, and those among the mixed ones."""
    laned = _walks(db, sql.FIRST_OF_DESTINATIONS, (queue_id, now, most + 1, given(aside)))
    walks = dict(zip(aside, laned, strict=True))
    mixed: dict[str, list[Entry]] = {}
    for entry in _entries(db, sql.MIXED, (queue_id, now, given(aside))):
        mixed.setdefault(entry.destination, []).append(entry)
    for destination, entries in mixed.items():
        walks[destination] = sorted([*walks[destination], *entries[: most + 1]], key=_running_order)
    return {destination: Aside(walk[:most], len(walk) <= most) for destination, walk in walks.items()}


def _elsewhere(db: Connection, queue_id: int, now: Instant, wanted: int, aside: str) -> list[Entry]:
    """The first due tasks of every other destination.

    First along all that is due, which is cheapest where few are left out. When that has passed over too many,
    along each lane and the mixed ones: what is left out of the lanes costs nothing, the others are bounded.
    """
    looked = LOOKED_AT * wanted
    due = _entries(db, sql.DUE_ELSEWHERE, (queue_id, now, looked, aside, wanted))
    if len(due) == wanted or db.execute(sql.DUE_COUNT, (queue_id, now, looked))[0][0] < looked:
        return due
    mixed = _entries(db, sql.MIXED_ELSEWHERE, (queue_id, now, aside, wanted))
    lanes = sql.read_json(db, sql.LANES, (queue_id, now, aside, wanted))
    return _merged(db, queue_id, now, wanted, lanes, mixed)


def _merged(
    db: Connection,
    queue_id: int,
    now: Instant,
    wanted: int,
    lanes: Sequence[Sequence[Any]],
    mixed: Sequence[Entry],
) -> list[Entry]:
    """The first entries of all lanes and the mixed ones together.

    Each lane gives a share, and twice as much when that is used up.
    """
    walks: list[list[Entry]] = [[] for _ in lanes]
    share = max(_LEAST_SHARE, wanted // max(1, len(lanes)))
    short = list(range(len(lanes)))
    merged = list(mixed)
    while short:
        asked = given([lanes[place] for place in short])
        found = _walks(db, sql.FIRST_OF_LANES, (queue_id, now, share, asked))
        for place, walk in zip(short, found, strict=True):
            walks[place] = walk
        merged = sorted(chain(mixed, *walks), key=_running_order)[:wanted]
        cut = [place for place in short if len(walks[place]) == share]
        if len(merged) == wanted:
            end = _running_order(merged[-1])
            cut = [place for place in cut if _running_order(walks[place][-1]) < end]
        short, share = cut, 2 * share
    return merged


def _running_order(entry: Entry) -> tuple[int, Instant, str]:
    return -entry.priority, entry.due_at, entry.id


def _entries(db: Connection, statement: str, parameters: Sequence[Any]) -> list[Entry]:
    return _ENTRIES.decode(db.execute(statement, parameters)[0][0])


def _walks(db: Connection, statement: str, parameters: Sequence[Any]) -> list[list[Entry]]:
    return _WALKS.decode(db.execute(statement, parameters)[0][0])
