"""The judge of ``make kill9`` finds each broken promise: a judge that cannot convict proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import evolve
from msgspec.structs import replace

from aq.instants import SECOND
from aq.outcome import AttemptStatus
from aq.storage.answers import StoredTask
from aq.task import Attempt, Environment, FailureReason, Options, QueueKey, Status, Task
from benchmarks.kill9.judge import judge
from benchmarks.kill9.ledger import Arrival, Death, Ledger, Life, Made, Rhythm

Kept = dict[str, StoredTask]


def attempt(number: int, at: float, status: AttemptStatus = AttemptStatus.SUCCESS) -> Attempt:
    return Attempt(number, status, round(at * SECOND), SECOND // 10, 0)


def task(task_id: str, attempts: Sequence[Attempt], **fields: Any) -> StoredTask:
    known = {"status": Status.COMPLETED, "priority": 5, "delay": 0, "created_at": 0, "due_at": 0, **fields}
    queue = QueueKey(Environment.LIVE, "q")
    return StoredTask(Task(id=task_id, queue=queue, webhook_url="http://a/", **known), b"{}", attempts)


def good() -> tuple[Ledger, Kept]:
    """Three lives: killed at 10, told to end at 20, and a last one. Every promise held."""
    ledger, body = Ledger(), {"queue": "q", "max_retries": 1}
    ledger.lives = [
        Life(0, 1, Death.KILL, over=10),
        Life(10, 11, Death.TERM, told=20, over=21, exit_code=0, streams=[True]),
        Life(21, 22, Death.TERM, told=40, over=41, exit_code=0),
    ]
    for name in ("a", "b", "c", "gone"):
        ledger.made[name] = Made(name, {**body, "ordering_key": "k"} if name in "ab" else body, 5, 5.1)
    ledger.made["gone"].deleted_at = 6
    ledger.made["gone"].deleting = True
    ledger.arrivals["a"] = [Arrival("a", 1, 9.5), Arrival("a", 2, 12, 12.1, 200)]
    ledger.arrivals["b"] = [Arrival("b", 1, 13, 13.1, 500), Arrival("b", 2, 14, 14.1, 500)]
    ledger.arrivals["c"] = [Arrival("c", 1, 15, 15.1, 200)]
    ledger.made["c"].completed_at = 16
    ledger.rhythms = [Rhythm("sch", "beat", 2, 3)]
    unknown, failure = AttemptStatus.UNKNOWN, AttemptStatus.FAILURE
    kept = {
        "a": task("a", [attempt(1, 9.4, unknown), attempt(2, 12)]),
        "b": task(
            "b",
            [attempt(1, 13, failure), attempt(2, 14, failure)],
            status=Status.FAILED,
            failure_reason=FailureReason.EXHAUSTED,
        ),
        "c": task("c", [attempt(1, 15)]),
    }
    for slot in range(5, 24, 3):
        kept[f"s{slot}"] = task(
            f"s{slot}", [attempt(1, slot)], options=Options(schedule_id="sch", slot=slot * SECOND)
        )
    return ledger, kept


def test_it_has_nothing_to_say_of_a_good_run() -> None:
    assert judge(*good()) == []


def test_of_two_asked_for_at_once_either_may_be_started_first() -> None:
    ledger, kept = good()
    overtaken(ledger, kept)
    kept["b"] = evolve(
        kept["b"], attempts=[replace(kept["b"].attempts[0], executed_at=5 * SECOND), kept["b"].attempts[1]]
    )
    assert "an ordering key out of order" not in [rule for rule, _ in judge(ledger, kept)]


def test_what_a_dead_server_sent_may_be_read_once_the_next_one_lives() -> None:
    ledger, kept = good()
    ledger.arrivals["a"] = [Arrival("a", 1, 10.001, 10.3, 200), Arrival("a", 2, 10.2, 10.4, 200)]
    assert judge(ledger, kept) == []


def test_a_delivery_that_is_read_late_has_no_more_time_for_that() -> None:
    ledger, kept = good()
    ledger.arrivals["a"][1] = Arrival("a", 2, 12.5)  # started at 12, so given up at 13
    assert "an ordering key two at a time" not in [rule for rule, _ in judge(ledger, kept)]


def lost(ledger: Ledger, kept: Kept) -> None:
    del kept["c"]


def never_ended(ledger: Ledger, kept: Kept) -> None:
    kept["a"] = evolve(kept["a"], task=replace(kept["a"].task, status=Status.PENDING))


def there_again(ledger: Ledger, kept: Kept) -> None:
    kept["gone"] = task("gone", [])


def delivered_though_deleted(ledger: Ledger, kept: Kept) -> None:
    ledger.arrivals["gone"] = [Arrival("gone", 1, 7, 7.1, 200)]


def delivered_though_completed(ledger: Ledger, kept: Kept) -> None:
    ledger.arrivals["c"].append(Arrival("c", 2, 25, 25.1, 200))
    kept["c"] = evolve(kept["c"], attempts=[attempt(1, 15), attempt(2, 25)])


def forgotten_completion(ledger: Ledger, kept: Kept) -> None:
    kept["c"] = evolve(kept["c"], task=replace(kept["c"].task, status=Status.FAILED))


def early(ledger: Ledger, kept: Kept) -> None:
    ledger.made["c"].body["delay"] = 11


def retried_early(ledger: Ledger, kept: Kept) -> None:
    kept["b"] = evolve(kept["b"], attempts=[kept["b"].attempts[0], attempt(2, 13.2, AttemptStatus.FAILURE)])


def too_often(ledger: Ledger, kept: Kept) -> None:
    ledger.made["b"].body = {**ledger.made["b"].body, "max_retries": 0}


def given_up(ledger: Ledger, kept: Kept) -> None:
    ledger.made["b"].body = {**ledger.made["b"].body, "max_retries": 2}


def two_unknown_in_a_life(ledger: Ledger, kept: Kept) -> None:
    attempts = [attempt(number, 9, AttemptStatus.UNKNOWN) for number in (1, 2)]
    kept["c"] = evolve(kept["c"], attempts=[*attempts, attempt(3, 15)])
    ledger.arrivals["c"][0].attempt = 3


def cut_by_sigterm(ledger: Ledger, kept: Kept) -> None:
    kept["c"] = evolve(kept["c"], attempts=[attempt(1, 15, AttemptStatus.UNKNOWN), attempt(2, 22)])
    ledger.arrivals["c"][0].attempt = 2


def delivered_twice(ledger: Ledger, kept: Kept) -> None:
    ledger.arrivals["c"].append(evolve(ledger.arrivals["c"][0]))


def delivered_without_an_attempt(ledger: Ledger, kept: Kept) -> None:
    ledger.arrivals["c"][0].attempt = 4


def invented(ledger: Ledger, kept: Kept) -> None:
    ledger.arrivals["c"][0].status = None


def hole(ledger: Ledger, kept: Kept) -> None:
    kept["a"] = evolve(kept["a"], attempts=kept["a"].attempts[1:])


def overtaken(ledger: Ledger, kept: Kept) -> None:
    ledger.arrivals["b"][0].at = 9


def beside(ledger: Ledger, kept: Kept) -> None:
    ledger.arrivals["a"][1] = Arrival("a", 2, 12.5, 13.05, 200)
    kept["a"] = evolve(kept["a"], attempts=[kept["a"].attempts[0], attempt(2, 12.5)])


def made_twice(ledger: Ledger, kept: Kept) -> None:
    kept["d"] = task("d", [attempt(1, 15)])


def batch_in_part(ledger: Ledger, kept: Kept) -> None:
    ledger.unanswered, ledger.batches = 3, {"t": 3}
    kept["d"] = task("d", [attempt(1, 15)], options=Options(tags=("t",)))


def slot_missing(ledger: Ledger, kept: Kept) -> None:
    del kept["s8"]


def slot_twice(ledger: Ledger, kept: Kept) -> None:
    kept["s"] = evolve(kept["s8"], task=replace(kept["s8"].task, id="s"))


def beat_that_stopped(ledger: Ledger, kept: Kept) -> None:
    del kept["s23"]


def bad_exit(ledger: Ledger, kept: Kept) -> None:
    ledger.lives[1].exit_code = 1


def cut_stream(ledger: Ledger, kept: Kept) -> None:
    ledger.lives[1].streams = [True, False]


CRIMES: dict[Callable[[Ledger, Kept], None], str] = {
    lost: "acknowledged and lost",
    never_ended: "acknowledged and never ended",
    there_again: "deleted and there again",
    delivered_though_deleted: "delivered after its deletion",
    delivered_though_completed: "delivered after it was completed",
    forgotten_completion: "completed and then not",
    early: "early",
    retried_early: "early",
    too_often: "attempts too often",
    given_up: "given up too early",
    two_unknown_in_a_life: "attempts too often",
    cut_by_sigterm: "unknown without a crash",
    delivered_twice: "one attempt delivered twice",
    delivered_without_an_attempt: "a delivery without an attempt",
    invented: "a success that was none",
    hole: "attempts with a hole",
    overtaken: "an ordering key out of order",
    beside: "an ordering key two at a time",
    made_twice: "made twice",
    batch_in_part: "a batch in part",
    slot_missing: "a slot of a schedule not once",
    slot_twice: "a slot of a schedule not once",
    beat_that_stopped: "a slot of a schedule not once",
    bad_exit: "SIGTERM in bad order",
    cut_stream: "SIGTERM in bad order",
}


@pytest.mark.parametrize("crime", CRIMES, ids=lambda crime: crime.__name__)
def test_it_finds_each_broken_promise(crime: Callable[[Ledger, Kept], None]) -> None:
    ledger, kept = good()
    crime(ledger, kept)
    assert CRIMES[crime] in [rule for rule, _ in judge(ledger, kept)]
