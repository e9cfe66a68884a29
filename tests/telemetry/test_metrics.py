"""What `/metrics` says, against what happened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from aq.actors.services import Sizes
from aq.errors import StorageCorruptError, StorageFullError, StorageUnavailableError
from aq.storage.memory import MemoryStorage
from aq.task import Environment, Queue
from aq.telemetry.catalogue import CATALOGUE, Kind
from aq.telemetry.metrics import exposition
from aq.telemetry.traffic import WATCH_SECONDS, Traffic, watch_loop
from tests.engine.storages import Faulty
from tests.engine.support import (
    BACK,
    FAILURE,
    GONE,
    SUCCESS,
    Gate,
    Receiver,
    busy,
    ended,
    meddle,
    settled,
    submit,
    submit_many,
    until_killed,
    up,
    wait_for,
)
from tests.telemetry.scrape import scraped

PAGE = Path(__file__).parent.parent.parent / "docs/telemetry.md"


# -- the catalogue ------------------------------------------------------------------------------------------
async def test_the_exposition_has_what_the_catalogue_says_and_nothing_else(autojump_clock: object) -> None:
    receiver = Receiver(lambda delivery: SUCCESS if delivery.tells_of else FAILURE)
    traffic = Traffic()
    traffic.answered("GET", "/readyz", 200, 0.1, "id", None)
    traffic.refused(431)
    async with up(runner=receiver) as engine:
        await wait_for(engine, [await submit(engine, max_retries=1, callback_url=BACK)])
        await settled()
        scrape = await scraped(engine, traffic)
    found = {}
    for family in scrape.families.values():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels}
        found[name] = (family.type, family.documentation, labels - {"le"})
    told = {metric.name: (metric.kind, metric.meaning, set(metric.labels)) for metric in CATALOGUE}
    assert {name: of for name, of in found.items() if not name.startswith("process_")} == told
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= found.keys()


def test_the_page_has_the_catalogue() -> None:
    rows = re.findall(
        r"^\| `(aq_\w+)` \| (\w+) \|(.*?)\|(.*?)\| (.+?) \|(.*?)\|$", PAGE.read_text(), re.MULTILINE
    )
    told = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels)), unit.strip(), meaning)
        for name, kind, labels, unit, meaning, _ in rows
    }
    known = {
        metric.name: (metric.kind.value, metric.labels, metric.unit, metric.meaning) for metric in CATALOGUE
    }
    assert len(rows) == len(CATALOGUE) > 30
    assert told == known


def test_names_follow_the_habits_of_prometheus() -> None:
    for metric in CATALOGUE:
        assert re.fullmatch(r"aq_[a-z_]+[a-z]", metric.name)
        assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
        assert not re.search(r"_(ms|us|milliseconds|kb|mb)(_|$)", metric.name)
        assert metric.meaning.endswith(".")


async def test_it_is_openmetrics_where_that_is_asked_for() -> None:
    async with up() as engine:
        await wait_for(engine, [await submit(engine)])
        accept = "application/openmetrics-text;version=9.x;q=0.9,text/plain;q=0.1"
        text, media = await exposition(engine, Traffic(), accept=accept)
        plain, plain_media = await exposition(engine, Traffic(), accept="*/*")
    assert media.startswith("application/openmetrics-text; version=1.")
    families = text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
    assert {"aq_tasks", "aq_attempts"} <= {family.name for family in families}
    assert plain_media.startswith("text/plain; version=0.0.4")
    assert plain.decode().endswith("\n")


# -- tasks --------------------------------------------------------------------------------------------------
async def test_attempts_and_ends_are_counted_by_how(autojump_clock: object) -> None:
    outcomes = {"a": [FAILURE, SUCCESS], "b": [GONE], "c": [busy(None)], "d": [SUCCESS]}

    def answer(delivery: object) -> object:
        return outcomes[delivery.json()["name"]].pop(0)  # type: ignore[attr-defined]

    async with up(runner=Receiver(answer)) as engine:  # type: ignore[arg-type]
        tasks = [
            await submit(engine, payload={"name": name}, max_retries=0 if name == "c" else None)
            for name in outcomes
        ]
        await wait_for(engine, tasks)
        late = await submit(engine, delay=60)
        await engine.delete(late.id)
        await submit(engine, environment=Environment.TEST)
        scrape = await scraped(engine)
    assert scrape.all("aq_attempts_total") == {
        # error_type, queue, status
        ("gone", "q", "failure"): 1,
        ("http_429", "q", "failure"): 1,
        ("none", "q", "success"): 2,
        ("unknown", "q", "failure"): 1,
    }
    assert scrape.all("aq_tasks_finished_total") == {
        # queue, reason, status
        ("q", "ok", "completed"): 2,
        ("q", "gone", "failed"): 1,
        ("q", "exhausted", "failed"): 1,
    }
    assert scrape.value("aq_tasks_created_total", queue="q") == 5
    assert scrape.value("aq_tasks_retried_total", queue="q") == 1
    assert scrape.value("aq_tasks_deleted_total", queue="q") == 1


async def test_lateness_and_duration_are_sorted_into_buckets(autojump_clock: object) -> None:
    """One at a time, each 3 s long: they start 0, 3 and 6 s late."""
    async with up(runner=Receiver(takes=3)) as engine:
        await engine.queues.create("q", concurrency=1)
        await wait_for(engine, await submit_many(engine, 3))
        scrape = await scraped(engine)
    late = scrape.all("aq_task_lateness_seconds_bucket")
    assert [late[le, "q"] for le in ("0.001", "2.5", "5.0", "10.0", "+Inf")] == [1, 1, 2, 3, 3]
    assert scrape.value("aq_task_lateness_seconds_sum", queue="q") == pytest.approx(9)
    took = scrape.all("aq_attempt_duration_seconds_bucket")
    assert [took[le, "q"] for le in ("2.5", "5.0", "+Inf")] == [0, 3, 3]
    assert scrape.value("aq_attempt_duration_seconds_sum", queue="q") == pytest.approx(9)


async def test_a_bound_belongs_to_its_bucket(autojump_clock: object) -> None:
    async with up(runner=Receiver(takes=5)) as engine:
        await engine.queues.create("q", concurrency=1)
        await wait_for(engine, await submit_many(engine, 2))
        late = (await scraped(engine)).all("aq_task_lateness_seconds_bucket")
    assert (late["2.5", "q"], late["5.0", "q"]) == (1, 2)


async def test_callbacks_are_counted_apart(autojump_clock: object) -> None:
    receiver = Receiver(lambda delivery: FAILURE if delivery.tells_of and delivery.attempt == 1 else SUCCESS)
    async with up(runner=receiver) as engine:
        task = await submit(engine, callback_url=BACK)
        await wait_for(engine, [task])
        await trio.sleep(10)
        scrape = await scraped(engine)
    assert scrape.all("aq_callback_attempts_total") == {("none", "success"): 1, ("unknown", "failure"): 1}
    assert scrape.all("aq_attempts_total") == {("none", "q", "success"): 1}


async def test_an_attempt_that_a_crash_cut_short_counts_and_has_no_duration(autojump_clock: object) -> None:
    storage = MemoryStorage()
    async with until_killed(storage, Gate()) as engine:
        task = await submit(engine)
        await settled()
    async with up(storage) as engine:
        await ended(engine, task)
        scrape = await scraped(engine)
    assert scrape.all("aq_attempts_total") == {("none", "q", "success"): 1, ("unknown", "q", "unknown"): 1}
    assert scrape.value("aq_attempt_duration_seconds_count", queue="q") == 1


async def test_each_task_is_in_one_state(autojump_clock: object) -> None:
    gate = Gate()
    async with up(runner=gate) as engine:
        await engine.queues.create("q", concurrency=2, paused=True, timeout=900)
        tasks = await submit_many(engine, 4)
        await submit_many(engine, 3, delay=3_600)
        await engine.queues.resume("q")
        await settled()
        await gate.end(tasks[0])
        await trio.sleep(90)
        scrape = await scraped(engine)
        await engine.queues.pause("q")
        paused = await scraped(engine)
        for task in tasks[1:3]:
            await gate.end(task)
    assert scrape.all("aq_tasks") == {
        ("q", "due"): 1,
        ("q", "scheduled"): 3,
        ("q", "active"): 2,
        ("q", "completed"): 1,
        ("q", "failed"): 0,
    }
    assert scrape.value("aq_queue_lateness_seconds", queue="q") == pytest.approx(90)
    assert scrape.value("aq_queue_concurrency", queue="q") == 2
    assert scrape.value("aq_attempts_in_flight") == 2
    assert [it.value("aq_queue_paused", queue="q") for it in (scrape, paused)] == [0, 1]


# -- bounds -------------------------------------------------------------------------------------------------
async def test_queues_beyond_the_bound_are_shown_together(autojump_clock: object) -> None:
    async with up() as engine:
        engine.totals.max_queues = 2
        for queue in ("a", "b", "c", "d", "_other", "a"):
            await wait_for(engine, [await submit(engine, queue)])
        await submit(engine, "e", delay=60)
        scrape = await scraped(engine)
    assert scrape.all("aq_tasks_created_total") == {("a",): 2, ("b",): 1, ("_other",): 4}
    assert scrape.value("aq_task_lateness_seconds_count", queue="_other") == 3
    assert scrape.value("aq_tasks", queue="_other", state="completed") == 3
    assert scrape.value("aq_tasks", queue="_other", state="scheduled") == 1
    assert scrape.value("aq_queue_concurrency", queue="_other") == 200
    assert (scrape.value("aq_queues"), scrape.value("aq_queues_unnamed")) == (6, 4)


async def test_a_thousand_queues_make_no_more_series_than_a_hundred(autojump_clock: object) -> None:
    async with up() as engine:
        for number in range(1_000):
            await submit(engine, f"queue-{number}", delay=60)
        scrape = await scraped(engine)
    assert len(scrape.all("aq_tasks_created_total")) == 101
    assert len(scrape.text.split("\n")) < 101 * 65


async def test_two_engines_know_nothing_of_each_other(autojump_clock: object) -> None:
    async with up() as one, up() as other:
        await wait_for(one, await submit_many(one, 3))
        await wait_for(other, await submit_many(other, 1, "mine"))
        first, second = await scraped(one), await scraped(other)
    assert first.all("aq_tasks_created_total") == {("q",): 3}
    assert second.all("aq_tasks_created_total") == {("mine",): 1}


# -- the engine ---------------------------------------------------------------------------------------------
async def test_commits_and_their_sizes_are_counted() -> None:
    async with up() as engine:
        before = await scraped(engine)
        await submit_many(engine, 200, delay=60)
        await engine.queues.create("other")
        after = await scraped(engine)
        statistics = engine.statistics()
    for name in ("aq_commit_units_count", "aq_commit_duration_seconds_count"):
        assert (before.value(name) or 0) < (after.value(name) or 0) == statistics.commits
    assert after.value("aq_commit_units_sum") == statistics.units


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StorageUnavailableError("busy"), "unavailable"),
        (StorageFullError("no space left"), "full"),
        (StorageCorruptError("damaged"), "corrupt"),
    ],
)
async def test_errors_of_the_storage_are_counted_by_kind(
    autojump_clock: object, error: Exception, kind: str
) -> None:
    faulty = Faulty(MemoryStorage())
    errors = [error]

    def fail(units: object) -> None:
        if errors:
            raise errors.pop()

    async with up(faulty) as engine:
        scrape = await scraped(engine)
        faulty.before_commit = fail
        with trio.move_on_after(1):
            await engine.queues.create("q")
        after = await scraped(engine)
    assert set(scrape.all("aq_storage_errors_total").values()) == {0}
    counted = {kind: n for (kind,), n in after.all("aq_storage_errors_total").items() if n}
    assert counted == {kind: 1}


async def test_what_cannot_be_written_shows(autojump_clock: object) -> None:
    faulty = Faulty(MemoryStorage())

    def fail(units: object) -> None:
        raise StorageFullError("no space left")

    async with up(faulty) as engine:
        assert (await scraped(engine)).value("aq_storage_writable") == 1
        faulty.before_commit = fail
        with pytest.raises(StorageFullError):
            await engine.queues.create("q")
        assert (await scraped(engine)).value("aq_storage_writable") == 0
        faulty.before_commit = lambda units: None


async def test_a_storage_that_cannot_be_read_leaves_out_what_it_alone_knows(autojump_clock: object) -> None:
    class Unreadable(Faulty):
        async def queues(self, environment: Environment | None = None) -> Sequence[Queue]:
            if environment is not None:
                raise StorageUnavailableError("not now")
            return await super().queues(environment)

    async with up(Unreadable(MemoryStorage())) as engine:
        await wait_for(engine, [await submit(engine)])
        scrape = await scraped(engine)
    assert scrape.value("aq_attempts_total", queue="q", status="success", error_type="none") == 1
    assert scrape.all("aq_tasks") == {}
    assert scrape.value("aq_queues") is None
    assert scrape.value("aq_storage_errors_total", kind="unavailable") == 1


async def test_supervisors_that_crash_show(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    storage, gate = MemoryStorage(), Gate()
    async with up(storage, gate, sizes=Sizes(restarts=1)) as engine:
        for crashes in (1, 2):
            task = await submit(engine, f"q{crashes}")
            await settled()
            await meddle(storage, task)
            await gate.end(task)
            await trio.sleep(1)
        once = await scraped(engine)
        task = await submit(engine, "q1")
        await settled()
        await meddle(storage, task)
        await gate.end(task)
        await trio.sleep(1)
        twice = await scraped(engine)
        for task_id in list(gate.held):
            await gate.end(task_id)
    assert [it.value("aq_supervisor_restarts_total") for it in (once, twice)] == [2, 2]
    assert [it.value("aq_queues_quarantined") for it in (once, twice)] == [0, 1]
    assert once.value("aq_supervisors") == 2


async def test_holds_draining_and_the_clock_show(autojump_clock: object) -> None:
    ahead = 0.0

    def wall() -> float:
        return 1_790_000_000 + trio.current_time() + ahead

    async with up(runner=Receiver(lambda delivery: busy(30)), wall=wall) as engine:
        await submit(engine)
        await settled()
        await trio.sleep(7)
        ahead = 2.5
        scrape = await scraped(engine)
        engine.begin_drain()
        draining = await scraped(engine)
    assert scrape.value("aq_destinations_held") == 1
    assert scrape.value("aq_clock_difference_seconds") == pytest.approx(2.5)
    assert scrape.value("aq_start_time_seconds") == pytest.approx(1_790_000_000)
    assert [it.value("aq_draining") for it in (scrape, draining)] == [0, 1]


async def test_a_loop_that_is_late_shows(mock_clock: trio.testing.MockClock) -> None:
    traffic = Traffic()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_loop, traffic)
        for seconds in (WATCH_SECONDS, WATCH_SECONDS + 0.25):
            await settled()
            mock_clock.jump(seconds)
        await settled()
        nursery.cancel_scope.cancel()
    assert (traffic.lag_us.counts[0], sum(traffic.lag_us.counts)) == (1, 2)
    assert traffic.lag_us.sum == pytest.approx(250_000)
