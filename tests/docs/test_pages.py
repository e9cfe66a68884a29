"""Every block of every page is run: as a story, or by a test that is named here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import PAGES, ROOT, blocks_of
from tests.docs.stories import prints, resembles, story

_API: Final = "tests/test_docs.py::test_every_curl_line_of_the_api_pages"
ELSEWHERE: Final = {
    "docs/cli.md": "tests/cli/test_docs.py::test_every_command_line_of_the_page_does_what_it_says",
    "docs/benchmarks.md": "tests/bench/test_harness.py::test_the_scenario_of_the_docs_runs",
    "docs/clients.md": "tests/client/test_docs.py::test_every_block_runs",
    "README.md": "tests/test_docs.py::test_readme_create_block",
    "docs/testing.md": "tests/sim/test_fixtures.py::test_the_page",
    "docs/api.md": _API,
    **{
        f"docs/api/{name}.md": _API for name in ("tasks", "queues", "schedules", "events", "keys", "webhooks")
    },
}
"""Pages whose blocks a test of their own runs."""


def has_something_to_run(page: Path) -> bool:
    return any(block.language not in ("", "text") for block in blocks_of(page))


STORIES: Final = [
    page for page in PAGES if str(page.relative_to(ROOT)) not in ELSEWHERE and has_something_to_run(page)
]


@pytest.mark.parametrize("page", STORIES, ids=lambda page: str(page.relative_to(ROOT)))
async def test_a_page_is_a_true_story(page: Path, tmp_path: Path) -> None:
    async with story(tmp_path) as reader:
        await reader.tell_all(page)


@pytest.mark.parametrize("page", ELSEWHERE)
def test_what_is_run_elsewhere_is(page: str) -> None:
    path, _, name = ELSEWHERE[page].partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()
    assert has_something_to_run(ROOT / page)


# -- the tests of the test ----------------------------------------------------------------------------------
UNTRUE: Final = [
    ("```sh\ncurl $AQ/v1/tasks\n```\n", "401"),
    ("```sh\ncurl $AQ/healthz  # 404\n```\n", "200"),
    ("```sh\ncurl $NOBODY/healthz\n```\n", "NOBODY"),
    ('```sh\ncurl $AQ/readyz\n```\n\n```json\n{"status": "late"}\n```\n', "'status': 'ready'"),
    ("```python\nraise SystemExit(3)\n```\n", "SystemExit"),
    ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "1"),
    ("```sh\nmake coffee\n```\n", "coffee"),
    ("```sh\nexport NOBODY=…\n```\n", "nobody has told NOBODY"),
    ('```toml title="aq.toml"\npotr = 1\n```\n', "potr"),
    ('```nginx title="elsewhere.conf"\nx\n```\n', "nobody knows whether elsewhere.conf is right"),
    ('```nginx title="README.md"\nx{}y\n```\n', "README.md has not what is shown of it"),
    ('```sh title="as root"\ninstall deploy/none.toml /etc\n```\n', "there is no deploy/none.toml"),
    ('```sh title="as root"\nif then\n```\n', "sh"),
    ("```yaml\na: [\n```\n", "parsing"),
    ("```ruby\nputs 1\n```\n", "ruby"),
    ("```sh\n.venv/bin/aq doctor --storage sqlite:///none.db\n```\n", "there is no store at none.db"),
]


async def test_pages_that_are_not_true_are_told(tmp_path: Path) -> None:
    async with story(tmp_path) as reader:
        for text, reason in UNTRUE:
            page = tmp_path / "page.md"
            page.write_text(text)
            with pytest.raises(Exception, match=re.escape(reason)) as caught:
                await reader.tell_all(page)
            line = text.count("\n", 0, text.rindex("```", 0, -4)) + 1
            assert caught.value.__notes__ == [f"page.md:{line}"]


def test_what_resembles_what() -> None:
    answer = {"id": "task_01JDE3G5P00007CMS8H5KDRDQG", "n": 1, "ms": 3.5, "list": [{"a": None}], "more": "x"}
    assert resembles(
        {"id": "task_01AAAAAAAAAAAAAAAAAAAAAAAA", "n": 1, "ms": 99.0, "list": [{"a": None}]}, answer
    )
    wrong: list[dict[str, object]]
    wrong = [{"n": 2}, {"list": []}, {"list": [{"a": 1}]}, {"more": "y"}, {"other": 1}, {"id": "x"}]
    for shown in wrong:
        assert not resembles(shown, answer)


def test_what_counts_as_printed() -> None:
    assert prints("b\nd …", "a\nb\nc\nd 1\n")
    assert not prints("d …\nb", "a\nb\nc\nd 1\n")
    assert not prints("x", "a\n")
