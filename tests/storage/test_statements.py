"""Every statement is an index walk, on an empty store and on one whose statistics SQLite knows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from aq.lifecycle import started
from aq.outcome import Outcome
from aq.storage import open_storage
from aq.storage.answers import Applied, Aside, Entry, TaskFilter
from aq.storage.changes import Change, Insert, Start
from aq.storage.conformance.bench import MAIL, NOW, SANDBOX, Bench, end_of, finished
from aq.storage.sqlite import bulk, failed, lists, open_sqlite, statements
from aq.storage.sqlite import tasks as writing
from aq.storage.sqlite.bulk import Bulk
from aq.storage.sqlite.lists import ALL_STATUSES, CONDITIONS, Walk
from aq.task import Environment, Options, QueueKey, Status, Task

from .scripted import Meter, Script

WHOLE_TABLES = {
    "QUEUE_HEADS": "queues",
    "SETTINGS": "settings",
    "API_KEYS": "api_keys",
    "SCHEDULES": "schedules",
}
"""Reads of everything in a table that holds little."""
SORTS = {"LANES": 1, "groups of failed": 2, "groups of all failed": 2}
"""How often: the lanes, not their tasks; no more failed tasks than are looked at."""
WALKS = {
    "page": Walk("queue_id", 1, ALL_STATUSES),
    "page of failed": Walk("queue_id", 1, (3,)),
    "page of queues": Walk("queue_id", 3, ALL_STATUSES),
    "page upwards": Walk("queue_id", 2, (0, 2), upwards=True),
    "page of all": Walk("environment", 1, ALL_STATUSES),
    "page of all upwards": Walk("environment", 1, (0,), upwards=True),
}
GROUPED = {
    "groups of failed": Walk("queue_id", 2, (3,)),
    "groups of all failed": Walk("environment", 1, (3,)),
}
READS = {
    **{
        name: text
        for name, text in vars(statements).items()
        if re.match("[A-Z]\\w* (SELECT|WITH) ", f"{name} {text}")
    },
    **{f"FINISHED{statuses}": text for statuses, text in statements.FINISHED.items()},
    **{name: lists.page_text(walk) for name, walk in WALKS.items()},
    **{f"{name}, ids": lists.ids_text(walk) for name, walk in WALKS.items()},
    **{f"{name}, filtered": lists.filtered_text(walk, tuple(CONDITIONS)) for name, walk in WALKS.items()},
    **{f"{name}, counted": lists.count_text(walk, tuple(CONDITIONS)) for name, walk in WALKS.items()},
    **{name: failed.groups_text(walk, ("queues",)) for name, walk in GROUPED.items()},
}
"""The statements of the audit are not among them: they look at everything, and sort it, on purpose."""
WRITES = {
    **{name: write.text(3) for name, write in vars(bulk).items() if isinstance(write, Bulk)},
    **{name: text for name, text in vars(bulk).items() if str(text).startswith(("DELETE", "UPDATE"))},
    **{f"DELETE_TASKS[{place}]": text for place, text in enumerate(bulk.DELETE_TASKS)},
}
TABLES = "tasks|payloads|attempts|queues|settings|meta|due_minutes|claims|schedules|api_keys|[cptq]"


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    found = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?"))
    return [row[3] for row in found]


@pytest.fixture
async def stores(tmp_path: Path) -> list[Path]:
    empty, full = tmp_path / "empty.db", tmp_path / "full.db"
    async with open_storage(f"sqlite:///{empty}"), open_storage(f"sqlite:///{full}") as storage:
        bench = Bench(storage)
        await bench.make(MAIL, SANDBOX, *(QueueKey(Environment.LIVE, f"q{number}") for number in range(50)))
        statuses = [Status.PENDING, *Status]
        for place in range(400):
            status = statuses[place % 5]
            task = bench.task(
                SANDBOX if place % 7 == 0 else MAIL,
                status=status,
                priority=1 + place % 3,
                ordering_key=f"key {place % 9}" if place % 2 else None,
                expires_at=NOW + place if place % 4 == 0 else None,
                finished_at=NOW if status.final else None,
                webhook_url=f"http://host{place % 11}.example/",
            )
            await bench.put(task)
    with sqlite3.connect(full) as connection:
        connection.execute("ANALYZE")
    connection.close()
    return [empty, full]


async def test_no_statement_walks_a_table_or_sorts(stores: list[Path]) -> None:
    assert len(READS) > 50
    assert len(WRITES) > 20
    for store in stores:
        connection = sqlite3.connect(store)
        for name, sql in {**READS, **WRITES}.items():
            steps = plan(connection, sql)
            sorts = [step for step in steps if "TEMP B-TREE" in step]
            assert len(sorts) == SORTS.get(name, 0), (name, steps)
            scans = [step for step in steps if re.match(rf"SCAN ({TABLES})\b(?! CONSTANT)", step)]
            scans = [step for step in scans if step != "SCAN p" or "SCAN 10 CONSTANT ROWS" not in steps]
            if name in {"QUEUES"}:
                scans.remove("SCAN q")  # what the walk of an index gave
            assert len(scans) == (name in WHOLE_TABLES), (name, steps)
        connection.close()


async def test_reads_walk_their_index_to_the_place_asked_for(stores: list[Path]) -> None:
    """A walk of rows by sequence would be no "scan" either, and pass over every task of other queues."""
    due = "INDEX tasks_due (queue_id=? AND priority=? AND due_at<?)"
    lane = "INDEX tasks_by_lane (queue_id=? AND priority=? AND lane=? AND due_at<?)"
    line = "INDEX tasks_in_line (queue_id=? AND ordering_key=? AND status<?)"
    finished = "COVERING INDEX tasks_finished (queue_id=? AND status=? AND finished_at<?)"
    page = "COVERING INDEX tasks_by_queue (queue_id=? AND status=? AND seq>? AND seq<?)"
    page_of_all = "COVERING INDEX tasks_by_environment (environment=? AND status=? AND seq>? AND seq<?)"
    wanted = {
        "DUE": {due},
        "DUE_COUNT": {due},
        "DUE_ELSEWHERE": {due},
        "UPCOMING": {"INDEX tasks_due (queue_id=? AND priority=? AND due_at>?)"},
        "LANES": {
            "INDEX tasks_by_lane (queue_id=? AND priority=?)",
            "INDEX tasks_by_lane (queue_id=? AND priority=? AND lane>?)",
            lane,
        },
        "FIRST_OF_LANES": {lane},
        "FIRST_OF_DESTINATIONS": {lane},
        "MIXED": {lane},
        "MIXED_ELSEWHERE": {lane},
        "CONTENDERS": {line},
        "HEAD_OF_LINE": {line},
        "EXPIRED": {"INDEX tasks_expiring (queue_id=? AND expires_at<?)"},
        "NEXT_TO_EXPIRE": {"INDEX tasks_expiring (queue_id=? AND expires_at>?)"},
        "BACKLOG": {"INDEX tasks_due (queue_id=? AND priority=?)"},
        "BACKLOGS": {"INDEX tasks_due (queue_id=? AND priority=?)"},
        "ACTIVE": {"COVERING INDEX tasks_by_queue (queue_id=? AND status=?)"},
        "PENDING": {"COVERING INDEX tasks_by_queue (queue_id=? AND status=? AND seq<?)"},
        **{f"FINISHED{statuses}": {finished} for statuses in statements.FINISHED},
        **{
            name: {page if walk.column == "queue_id" else page_of_all}
            for name, walk in (WALKS | GROUPED).items()
        },
    }
    for store in stores:
        connection = sqlite3.connect(store)
        for name, sql in READS.items():
            walks = {step for step in plan(connection, sql) if step.startswith("SEARCH tasks ")}
            indexes = wanted.get(name, wanted.get(name.partition(",")[0], set()))
            assert walks == {f"SEARCH tasks USING {index}" for index in indexes}, (name, walks)
        connection.close()


def test_a_bulk_of_any_size_is_written_whole() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE numbers (a, b)")
    steps = []

    class Counting:
        def execute(self, sql: str, parameters: list[int]) -> list[tuple[int, ...]]:
            steps.append(sql)
            return connection.execute(sql, parameters).fetchall()

    write = Bulk("INSERT INTO numbers", 2)
    for size in (0, 1, 3, 4, 63, 64, 65, 150):
        steps.clear()
        connection.execute("DELETE FROM numbers")
        write.run(Counting(), [(number, -number) for number in range(size)])  # type: ignore[arg-type]
        found = connection.execute("SELECT a, b FROM numbers ORDER BY a").fetchall()
        assert found == [(number, -number) for number in range(size)]
        assert len(steps) <= size // 64 + 9
    connection.close()


# -- windows that leave destinations out (rule 12) ----------------------------------------------------------
@pytest.mark.parametrize("most_mixed", [0, 200])
async def test_what_is_left_out_costs_nothing(
    most_mixed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in steps of SQLite's machine: the same for 500 and for 5,000 due tasks of the destination."""
    monkeypatch.setattr(writing, "MOST_MIXED", most_mixed)
    busy, asked, spent = "http://busy.example", 20, []
    for amount in (500, 5_000):
        meter = Meter()
        async with open_sqlite(str(tmp_path / f"{amount}.db"), connect=meter.connect) as storage:
            bench = Bench(storage)
            await bench.make(MAIL)
            first = [bench.task(webhook_url=f"{busy}/{place}") for place in range(amount)]
            for place in range(0, amount, 50):
                await bench.put(*first[place : place + 50])
            others = [bench.task(webhook_url=f"http://host{place % 7}.example/") for place in range(100)]
            await bench.put(*others)
            meter.steps = 0
            found = await storage.window(MAIL, NOW, asked, [busy], 3)
            spent.append(meter.steps)
            assert found.due == [Entry.of(task) for task in others[:asked]]
            assert found.aside == {busy: Aside([Entry.of(task) for task in first[:3]], False)}
    few, many = spent
    assert abs(many - few) <= 20
    assert many < 15_000


@pytest.mark.parametrize(("limit", "aside", "by_lanes"), [(2, 1, False), (25, 3, False), (4, 3, True)])
async def test_a_window_goes_by_lanes_when_it_has_passed_over_too_much(
    limit: int, aside: int, by_lanes: bool, tmp_path: Path
) -> None:
    script = Script()
    async with open_sqlite(str(tmp_path / "aq.db"), connect=script.connect) as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        hosts = [f"http://host{place}.example" for place in range(4)]
        tasks = [bench.task(webhook_url=hosts[place % 4]) for place in range(40)]
        await bench.put(*tasks)
        found = await storage.window(MAIL, NOW, limit, hosts[:aside], 1)
        due = [task for task in tasks if task.destination not in hosts[:aside]]
        assert (found.due, found.due_complete) == first(due, limit)
        assert (statements.LANES in script.log) is by_lanes


@pytest.mark.parametrize("seed", range(8))
async def test_lanes_are_merged_in_running_order(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against sorting everything."""
    monkeypatch.setattr(writing, "MOST_MIXED", 50 * seed)
    random, script = Random(seed), Script()
    hosts = [f"http://host{place}.example" for place in range(random.choice([3, 8, 40]))]
    weights = [8 * len(hosts), *(random.choice([1, 1, 6]) for _ in hosts[1:])]
    async with open_sqlite(str(tmp_path / "aq.db"), connect=script.connect) as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        tasks = [
            bench.task(
                webhook_url=f"{random.choices(hosts, weights)[0]}/",
                priority=random.choice([1, 5, 5, 5, 10]),
                due_at=NOW + random.randint(-20, 3),
            )
            for _ in range(500)
        ]
        for place in range(0, 500, 25):
            await bench.put(*tasks[place : place + 25])
        for _ in range(60):
            limit = random.choice([1, 2, 7, 40, 100, 600])
            aside = [hosts[0], *random.sample(hosts[1:], random.randint(0, len(hosts) - 2))]
            found = await storage.window(MAIL, NOW, limit, aside, 3)
            due = [task for task in tasks if task.destination not in aside]
            assert (found.due, found.due_complete) == first(due, limit)
            for host in aside:
                apart = [task for task in tasks if task.destination == host]
                assert found.aside[host] == first(apart, 3)
    assert script.log.count(statements.LANES) > 5
    assert script.log.count(statements.FIRST_OF_LANES) > 5


def first(tasks: Sequence[Task], limit: int) -> tuple[list[Entry], bool]:
    due = [task for task in tasks if task.due_at <= NOW]
    due.sort(key=lambda task: (-task.priority, task.due_at, task.id))
    return [Entry.of(task) for task in due[:limit]], len(due) <= limit


# -- lists that look at so many (rule 13) -------------------------------------------------------------------
@pytest.mark.parametrize("merged", [1, 100])
async def test_a_filtered_list_looks_at_so_many_for_a_page(
    merged: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_LOOKED_AT", 5)
    monkeypatch.setattr(lists, "MOST_MERGED", merged)
    async with open_storage(f"sqlite:///{tmp_path}/aq.db") as storage:
        bench = Bench(storage)
        keys = [QueueKey(Environment.LIVE, name) for name in "abc"]
        await bench.make(*keys)
        tasks = [
            bench.task(keys[place % 3], options=Options(tags=("x",) if place % 18 < 4 else ()))
            for place in range(48)
        ]
        await bench.put(*tasks)
        which = TaskFilter(queues=("a", "b"), tag="x")
        wanted = [task.id for task in tasks if task.options.tags and task.queue.name != "c"]
        for upwards in (False, True):
            found: list[str] = []
            pages: list[int] = []
            place = "" if upwards else None
            while place is not None or not pages:
                where = {"after": place} if upwards else {"before": place}
                page = await storage.list_tasks(which, limit=2, **where)  # type: ignore[arg-type]
                pages.append(len(page.tasks))
                found += [task.id for task in page.tasks]
                place = page.more
            assert found == (wanted if upwards else wanted[::-1])
            assert min(pages) < 2, "no page was cut short"
        assert await storage.count_tasks(which) == len(wanted)
        counted = await storage.list_tasks(TaskFilter(queues=("a", "b")), limit=3)
        assert counted.total == 32


# -- what commits cost --------------------------------------------------------------------------------------
async def test_a_commit_costs_so_many_statements_whatever_its_size(tmp_path: Path) -> None:
    """Marks, lanes, minutes and claims cost nothing where there are none."""
    script = Script()

    async def kinds(*units: Sequence[Change]) -> list[str]:
        script.log.clear()
        answers = await storage.commit(units, NOW)
        assert all(isinstance(answer, Applied) for answer in answers)
        return [" ".join(sql.split()[:3]) for sql in script.log[1:-1] if not sql.startswith("SELECT CAST")]

    def ends(tasks: Sequence[Task]) -> list[Sequence[Change]]:
        return [end_of(*finished(started(task, NOW), Outcome.success())) for task in tasks]

    async with open_sqlite(str(tmp_path / "aq.db"), connect=script.connect) as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        waiting = [bench.task() for _ in range(64)]
        running = [started(bench.task(), NOW) for _ in range(64)]
        insert = ["INSERT INTO tasks", "INSERT INTO payloads"]
        counts, meta = "UPDATE queues SET", "UPDATE meta SET"
        fresh = await kinds(*([Insert(task, b"{}")] for task in running))
        assert fresh == [*insert, counts, meta]
        later = await kinds(*([Insert(task, b"{}")] for task in waiting))
        assert later == [*insert, counts, "INSERT INTO due_minutes", meta]
        starts = await kinds(*([Start(MAIL, task.id, 1, NOW)] for task in waiting))
        minutes = ["INSERT INTO due_minutes", "DELETE FROM due_minutes"]
        assert starts == ["UPDATE tasks SET", counts, *minutes, meta]
        ended = await kinds(*ends(waiting))
        assert ended == ["UPDATE tasks SET", "INSERT OR REPLACE", counts, meta]
        assert statements.HEADS not in script.log, "what was started here is known"
        assert list(await storage.audit()) == []
