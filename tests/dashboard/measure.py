"""What pages cost on a large store, when they are painted, and what one costs while nothing happens.

.venv/bin/python -m tests.dashboard.measure --tasks 1000000

CPU seconds are the server's, user and system; they mean the same on a machine that others use too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import trio
from playwright.sync_api import Page, sync_playwright

from aq.outcome import AttemptStatus, ErrorType
from aq.policy import QueuePolicy
from aq.storage import open_storage
from aq.storage.changes import Insert, PutQueue, Record
from aq.storage.conformance.bench import IMAGES, MAIL, Bench
from aq.task import Attempt, Queue, Status, Task
from tests.dashboard import chromium
from tests.dashboard.conftest import sign_in
from tests.dashboard.served import Served, serving

PATHS: Final = (
    "/",
    "/queues",
    "/queues/mail",
    "/tasks",
    "/tasks?status=failed",
    "/tasks?queue=mail",
    "/tasks?queue=mail&status=completed",
    "/tasks?error_type=dns",
    "/tasks?destination=https://host39.example.com",
    "/tasks?tag=unheard",
    "/tasks?created_before=2020-01-01T00:00:00Z",
    "/failures",
    "/failures/retry?queue=mail&error_type=dns",
    "/schedules",
    "/keys",
)
VISITS: Final = 7
ANSWERS: Final = 20
IDLE_SECONDS: Final = 60
PAIRS: Final = 2
_BATCH: Final = 2_000
_PAINTED: Final = """() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  const page = performance.getEntriesByType("navigation")[0];
  return paint && page.loadEventEnd ? [paint.startTime, page.responseEnd - page.requestStart] : null;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="a database that is there from before, or stays")
    asked = parser.parse_args()
    path = chromium.find()
    if path is None:
        raise SystemExit(chromium.MISSING)
    with tempfile.TemporaryDirectory() as folder:
        place = asked.keep or Path(folder, "aq.db")
        if not place.exists():
            trio.run(fill, f"sqlite:///{place}", asked.tasks)
        storage = f"sqlite:///{place.absolute()}"
        with serving(Path(folder), storage) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            context = browser.new_context(base_url=server.url)
            page = context.new_page()
            sign_in(page, server.key)
            print(f"{_stored(server):,} tasks, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            for path in (*PATHS, _a_task(server)):
                print(f"{path:48}", cost(page, server.pid, path), painted(page, path), flush=True)
            for _ in range(PAIRS):
                page.goto("/")
                watched = idle(server.pid)
                page.goto("about:blank")
                print(f"{watched:.2f} % of a core with an overview open, {idle(server.pid):.2f} % without")
            browser.close()


def _stored(server: Served) -> int:
    return int(server.get("/tasks?limit=1")["pagination"]["total"])


def _a_task(server: Served) -> str:
    return f"/tasks/{server.get('/tasks?limit=1&status=failed')['tasks'][0]['id']}"


async def fill(storage_url: str, tasks: int) -> None:
    """Finished tasks of two queues, half of them failed, to forty hosts."""
    random, now = Random(1), time.time_ns() // 1_000
    async with open_storage(storage_url) as storage:
        bench = Bench(storage)
        await storage.commit([[PutQueue(Queue(key, QueuePolicy(), now)) for key in (MAIL, IMAGES)]], now)
        for place in range(0, tasks, _BATCH):
            unit: list[Any] = []
            for number in range(place, min(place + _BATCH, tasks)):
                task = _task(bench, random, now - (tasks - number) * 40_000)
                status = AttemptStatus.FAILURE if task.error_type else AttemptStatus.SUCCESS
                attempt = Attempt(1, status, task.created_at, 1_000, 2_000, error="answered 500")
                unit += [Insert(task, b'{"n":1}'), Record(task.id, attempt)]
            await storage.commit([unit], now)
            print(f"\r{place + _BATCH:,} tasks", end="", file=sys.stderr)
    print(file=sys.stderr)


def _task(bench: Bench, random: Random, at: int) -> Task:
    failed = random.random() < 0.5
    return bench.task(
        MAIL if random.random() < 0.6 else IMAGES,
        created_at=at,
        due_at=at,
        status=Status.FAILED if failed else Status.COMPLETED,
        finished_at=at + 3_000_000,
        attempt=1,
        webhook_url=f"https://host{int(random.random() ** 3 * 40)}.example.com/hook",
        error_type=random.choice(list(ErrorType)[:9]) if failed else None,
    )


def cost(page: Page, pid: int, place: str) -> str:
    """CPU time of the server for an answer, once it has warmed up."""
    page.request.get(place)
    before = _used(pid)
    for _ in range(ANSWERS):
        assert page.request.get(place).ok, place
    return f"CPU {1_000 * (_used(pid) - before) / ANSWERS:5.1f} ms,"


def painted(page: Page, place: str) -> str:
    """First paint, from the click on, and the server's part of it: medians, and the best."""
    found = []
    for _ in range(VISITS):
        page.goto(place)
        found.append(page.wait_for_function(_PAINTED).json_value())
    paints, answers = [it[0] for it in found], [it[1] for it in found]
    return (
        f"first paint {median(paints):4.0f} ms ({min(paints):.0f}),"
        f" of it the server {median(answers):4.0f} ms ({min(answers):.0f})"
    )


def idle(pid: int) -> float:
    """Per cent of a core that a process uses, measured over `IDLE_SECONDS`, in seconds of its CPU time."""
    before = _used(pid)
    time.sleep(IDLE_SECONDS)
    return 100 * (_used(pid) - before) / IDLE_SECONDS


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
