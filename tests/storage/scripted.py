"""Connections over the real one: one that fails where a test says so, one that counts SQLite's steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import Factory, define, frozen

from aq.storage.sqlite.connection import Row, SqliteError, StdlibConnection

T = TypeVar("T")


@frozen
class Fault:
    """An error of a call; ``happens`` says that the call did its work first."""

    code: str
    happens: bool = False


def _no_fault(sql: str, read_only: bool) -> Fault | None:
    return None


@define
class Script:
    """Gives faults to calls: ``plan`` is asked about every call with its SQL and whether it may only read."""

    plan: Callable[[str, bool], Fault | None] = _no_fault
    log: list[str] = Factory(list)

    def connect(self, path: str, *, read_only: bool = False) -> Scripted:
        return Scripted(self, path, read_only)


class Scripted:
    def __init__(self, script: Script, path: str, read_only: bool) -> None:
        self._script = script
        self._read_only = read_only
        self._inner = StdlibConnection(path, read_only=read_only)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._call(sql, lambda: self._inner.execute(sql, parameters))

    def script(self, sql: str) -> None:
        self._call(sql, lambda: self._inner.script(sql))

    def _call(self, sql: str, work: Callable[[], T]) -> T:
        self._script.log.append(sql)
        fault = self._script.plan(sql, self._read_only)
        if fault is not None and not fault.happens:
            raise SqliteError(fault.code, "scripted")
        result = work()
        if fault is not None:
            raise SqliteError(fault.code, "scripted, after the work")
        return result

    def rewrite_log(self) -> None:
        self._call("rewrite the log", self._inner.rewrite_log)

    def interrupt(self) -> None:
        self._inner.interrupt()

    def close(self) -> None:
        self._inner.close()


def once(beginning: str, fault: Fault) -> Callable[[str, bool], Fault | None]:
    """The next writing call whose SQL begins so fails, and no other."""
    faults = [fault]

    def plan(sql: str, read_only: bool) -> Fault | None:
        return faults.pop() if faults and not read_only and sql.startswith(beginning) else None

    return plan


@define
class Meter:
    """Counts the steps of SQLite's machine in the connections that read, in tens."""

    steps: int = 0

    def connect(self, path: str, *, read_only: bool = False) -> StdlibConnection:
        connection = StdlibConnection(path, read_only=read_only)
        if read_only:
            connection._connection.set_progress_handler(self._step, 10)
        return connection

    def _step(self) -> int:
        self.steps += 10
        return 0
