"""Promises broken on purpose, between the storage and its connections: the cuts must find each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aq.storage.sqlite import bulk
from aq.storage.sqlite.connection import Connection, Row
from tests.powercut.connection import Passing
from tests.powercut.machine import Machine

Fault = Callable[[Machine], None]


def less_synced(machine: Machine) -> None:
    """The log is synced when it is folded into the file, not at each commit."""
    machine.replaced["PRAGMA synchronous = FULL"] = "PRAGMA synchronous = NORMAL"


def never_synced(machine: Machine) -> None:
    machine.replaced["PRAGMA synchronous = FULL"] = "PRAGMA synchronous = OFF"


def told_too_early(machine: Machine) -> None:
    """A commit is acknowledged, and committed when somebody reads."""
    owed: list[Connection] = []

    class Late(Passing):
        def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
            if sql == "COMMIT" and not self.reading:
                owed.append(self.db)
                return []
            pay()
            return super().execute(sql, parameters)

        def close(self) -> None:
            try:
                pay()
            finally:
                super().close()

    def pay() -> None:
        while owed:
            owed.pop().execute("COMMIT")

    machine.around = Late


def counted_apart(machine: Machine) -> None:
    """The counters of queues move in a transaction of their own, after the commit."""

    class Apart(Passing):
        def __init__(self, db: Connection, reading: bool) -> None:
            super().__init__(db, reading)
            self.owed: list[tuple[str, Sequence[Any]]] = []

        def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
            if sql.startswith(_COUNTING):
                self.owed.append((sql, parameters))
                return []
            rows = super().execute(sql, parameters)
            if sql == "COMMIT":
                while self.owed:
                    super().execute(*self.owed.pop())
            return rows

    machine.around = Apart


_COUNTING: Final = bulk.MOVE_COUNTS.text(1).split(" FROM ")[0]


FAULTS: Final[Mapping[str, Fault]] = {
    fault.__name__: fault for fault in (less_synced, never_synced, told_too_early, counted_apart)
}
