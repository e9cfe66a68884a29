"""A queue that is a file, asked as `benchmarks/peers/programs/main.mjs` says; `test_peers` measures it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import httpx

from aq.bench.plan import stamp


def put(path: Path, url: str, at: float) -> None:
    with path.open("a") as file:
        file.write(json.dumps({"url": url, "body": {"payload": {"at": stamp(at)}}}) + "\n")


def add(path: Path, jobs: int, url: str, rate: float = 1e6, **_: object) -> None:
    began = time.perf_counter()
    for _number in range(jobs):
        put(path, url, time.perf_counter())
    sys.stdout.write(json.dumps({"rate": rate, "began": began}))


def work(path: Path) -> None:
    path.touch()
    with path.open() as file, httpx.Client(trust_env=False) as client:
        while True:
            if line := file.readline():
                job = json.loads(line)
                client.post(job["url"], json=job["body"])
            else:
                time.sleep(0.01)


if __name__ == "__main__":
    queue, what, given = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    work(queue) if what == "work" else add(queue, **given)
