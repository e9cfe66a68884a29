"""Failed tasks by kind (rule 20)."""

# ruff: noqa: S608 -- the texts are put together from constants; values are always parameters
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from aq.outcome import ErrorType
from aq.storage.answers import SAMPLES, FailureGroup, Failures, TaskFilter
from aq.storage.sqlite.connection import Connection
from aq.storage.sqlite.lists import CONDITIONS, EVERYWHERE, Source, Walk
from aq.storage.sqlite.statements import as_json, one_moment, read_json

_KIND: Final = "queue_id, destination, error_type"


@lru_cache(maxsize=64)
def groups_text(walk: Walk, conditions: tuple[str, ...] = ()) -> str:
    """The groups of the tasks of a walk that meet the conditions. Sorts what the walk gives."""
    where = "".join(f" AND {CONDITIONS[name]}" for name in conditions)
    placed = (
        f"SELECT t.seq, id, {_KIND}, finished_at,"
        f" row_number() OVER (PARTITION BY {_KIND} ORDER BY t.seq DESC) AS place"
        f" FROM ({walk.text()}) AS walk CROSS JOIN tasks AS t WHERE t.seq = walk.seq{where}"
    )
    groups = (
        f"SELECT {_KIND}, count(*) AS number, min(finished_at) AS first_at, max(finished_at) AS last_at,"
        f" max(seq) AS newest, json_group_array(id) FILTER (WHERE place <= {SAMPLES}) AS samples"
        f" FROM ({placed}) GROUP BY {_KIND}"
    )
    error = "(SELECT error FROM attempts WHERE seq = g.newest ORDER BY number DESC LIMIT 1)"
    return as_json(
        f"q.name, g.destination, g.error_type, g.number, g.first_at, g.last_at, json(g.samples), {error}",
        f"({groups}) AS g CROSS JOIN queues AS q ON q.id = g.queue_id",
    )


def failures_by_kind(db: Connection, which: TaskFilter, most: int) -> Failures:
    """``which`` names an environment, the state, and perhaps queues."""
    with one_moment(db):
        source = Source(db, which, upwards=False)
        text = groups_text(source.walk, source.conditions)
        walked = *source.within(EVERYWHERE), most, 0, *source.values
        rows = read_json(db, text, walked) if source.keys else []
    return Failures.of(map(_group, rows), source.total)


def _group(columns: Sequence[Any]) -> FailureGroup:
    queue, destination, error_type, count, first_at, last_at, samples, error = columns
    return FailureGroup(
        queue,
        destination,
        None if error_type is None else ErrorType(error_type),
        count,
        first_at,
        last_at,
        tuple(sorted(samples, reverse=True)),
        error,
    )
