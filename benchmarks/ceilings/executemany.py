"""Rows as bare as a task can be, in SQLite: WAL, synchronous=FULL, a batch by ``executemany`` and a commit.

python -m benchmarks.ceilings.executemany DATABASE BATCHES SIZE     prints {"rate": rows per second}
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from pathlib import Path

INSERT = "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

TABLE = """CREATE TABLE tasks (
  seq INTEGER PRIMARY KEY, id TEXT, queue INTEGER, status INTEGER, priority INTEGER, due_at INTEGER,
  webhook_url TEXT, payload BLOB
) STRICT"""


def create(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    for statement in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        TABLE,
        "CREATE INDEX due ON tasks (queue, priority, due_at)",
    ):
        connection.execute(statement)
    return connection


def row(number: int, payload: bytes) -> tuple[object, ...]:
    return (number, f"task_{number:026}", 1, 0, 5, number, "http://127.0.0.1:8080/hook", payload)


def measure(path: Path, batches: int, size: int) -> float:
    connection, payload = create(path), b"x" * 100
    rows = [[row(batch * size + n, payload) for n in range(size)] for batch in range(batches)]
    began = time.perf_counter()
    for batch in rows:
        with connection:
            connection.executemany(INSERT, batch)
    return batches * size / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps({"rate": measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))}))
