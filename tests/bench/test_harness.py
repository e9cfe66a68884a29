"""The benchmarks run, in miniature: each scenario and ceiling, the table, plots, the example of the docs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from attrs import evolve

from aq.bench.programs import open_sink
from benchmarks.__main__ import publish
from benchmarks.lab import QUICK, Lab
from benchmarks.plots import draw
from benchmarks.report import judged, markdown, show
from benchmarks.results import Results, read, this_machine
from benchmarks.rows import rows
from benchmarks.scenarios import SCENARIOS

TINY = evolve(
    QUICK,
    drain=200,
    ceiling=100,
    single=100,
    slow=50,
    batches=1,
    latency=4,
    timers=20,
    timers_over=0.1,
    backlog=(50, 100),
    backlog_step=20,
    queues=20,
    idle=0.1,
    hanging=0.1,
)
DOCS = Path(__file__).parents[2] / "docs/benchmarks.md"


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_gives_every_figure_of_its_rows(name: str, tmp_path: Path) -> None:
    results = Results(this_machine("test"))
    async with open_sink() as sink:
        results.add(name, await SCENARIOS[name].run(Lab(TINY, sink)))
    results.write(tmp_path / "kept.json")
    lines = judged(read(tmp_path / "kept.json"))
    expected = [row.what for row in rows(results.runs) if row.scenario == name]
    assert [line.row.what for line in lines] == expected
    assert all(value >= 0 for value in results.runs[name][0].values())


def test_the_table_names_what_falls_short_and_the_plots_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(this_machine("test"))
    results.add("drain", {"rate": 50, "ceiling": 100, "cpu": 0.2, "ceiling_cpu": 0.1})
    results.add("backlog", {f"{depth}_{name}": 9 for depth in (10, 20) for name in FIGURES})
    lines = judged(results)
    show(results, lines)
    told = capsys.readouterr().out
    assert re.search(r"drain of due tasks +50/s +100/s +delivery alone +0.50 +≥ 0.6 × it +SHORT", told)
    assert "falls short: drain of due tasks beside delivery alone: 0.50, target ≥ 0.6 × it" in told
    assert "| 50/s | 100/s, delivery alone | 0.50 | ≥ 0.6 × it | **short** |" in markdown(results, lines)
    pictures = draw(results, lines, tmp_path, "bench")
    assert [path.name for path in pictures] == ["bench-targets.svg", "bench-backlog.svg"]
    assert "drain of due tasks" in pictures[0].read_text()


FIGURES = ("drain", "intake", "memory_mib", "list_ms", "cursor_ms", "count_ms", "get_ms")


async def test_the_scenario_of_the_docs_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, DOCS, "exec"), {"Lab": Lab}, names)
    async with open_sink() as sink:
        figures = await names["retries"](Lab(TINY, sink))  # type: ignore[operator]
    assert set(figures) == {"rate", "p99_ms"}
    assert json.dumps(figures)


def test_a_table_that_is_published_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("before\n<!-- bench: measured -->\nold\n<!-- bench: end -->\nafter\n")
    results = Results(this_machine("test"))
    for rate in (50, 70):
        results.add("drain", {"rate": rate, "ceiling": 100})
        publish(results, "bench", judged(results), page, tmp_path / "kept")
    text = page.read_text()
    assert re.fullmatch(
        r"before\n<!-- bench: measured -->\n.*\n<!-- bench: end -->\nafter\n", text, re.DOTALL
    )
    assert (text.count("drain of due tasks"), "old" in text) == (1, False)
    assert "| 60/s | 100/s, delivery alone | 0.60 | ≥ 0.6 × it | held |" in text
    assert (tmp_path / re.findall(r"!\[.+?\]\((.+?)\)", text)[0]).exists()
    assert read(tmp_path / "kept/bench.json").runs == results.runs


def test_the_page_has_a_place_for_each_table_that_is_published() -> None:
    for name in ("bench", "peers", "backlog-10m"):
        assert re.search(rf"<!-- {name}: measured -->\n.+<!-- {name}: end -->", DOCS.read_text(), re.DOTALL)
