"""What the table of the benchmarks says of figures."""

from __future__ import annotations

import pytest

from benchmarks.rows import ROWS, Row, judge, rows
from benchmarks.scenarios import SCENARIOS

RATIO = Row(what="drain", scenario="drain", ours="rate", unit="/s", beside="ceiling", least=0.6)


def test_a_ratio_is_taken_run_by_run_and_its_median_is_judged() -> None:
    runs = {"drain": [{"rate": 50, "ceiling": 100}, {"rate": 70, "ceiling": 100}, {"rate": 6, "ceiling": 8}]}
    judged = judge(RATIO, runs)
    assert judged is not None
    assert (judged.compared, judged.ours, judged.beside, judged.runs, judged.held) == (0.7, 50, 100, 3, True)


@pytest.mark.parametrize(
    ("row", "figures", "held"),
    [
        (RATIO, {"rate": 59, "ceiling": 100}, False),
        (Row(what="", scenario="drain", ours="p99", unit="ms", most=20), {"p99": 20}, True),
        (Row(what="", scenario="drain", ours="p99", unit="ms", most=20), {"p99": 21}, False),
        (
            Row(what="", scenario="drain", ours="a", unit="ms", beside="b", most=1, excess=True),
            {"a": 3, "b": 2},
            True,
        ),
        (
            Row(what="", scenario="drain", ours="a", unit="ms", beside="b", most=1, excess=True),
            {"a": 4, "b": 2},
            False,
        ),
        (Row(what="", scenario="drain", ours="a", unit="ms"), {"a": 4}, None),
    ],
)
def test_a_target_is_held_or_not_and_without_one_nothing_is_judged(
    row: Row, figures: dict[str, float], held: bool | None
) -> None:
    judged = judge(row, {"drain": [figures]})
    assert judged is not None
    assert judged.held is held


def test_what_was_not_measured_has_no_row() -> None:
    assert judge(RATIO, {}) is None
    assert judge(RATIO, {"drain": [{"rate": 1}]}) is None


def test_each_row_is_of_a_scenario_that_there_is() -> None:
    assert {row.scenario for row in ROWS} | {"backlog"} == set(SCENARIOS)


def test_a_backlog_has_rows_for_each_depth_that_was_measured() -> None:
    figures = {"10_drain": 1.0, "2000000_drain": 1.0, "2000000_memory_mib": 190.0}
    told = [row for row in rows({"backlog": [figures]}) if row.scenario == "backlog"]
    judged = [judge(row, {"backlog": [figures]}) for row in told]
    assert [(it.row.what, it.row.target(), it.held) for it in judged if it is not None] == [
        ("10 waiting: drain", "", None),
        ("2,000,000 waiting: drain", "≥ 0.8 × it", True),
        ("2,000,000 waiting: memory", "≤ 200 MiB", True),
    ]
