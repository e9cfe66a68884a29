"""What a search means."""

from __future__ import annotations

import pytest

from aq.dashboard.search import Search, as_text, read_search

ID = "task_01JDE3G5P00007CMS8H5KDRDQG"


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("queue:mail", {"queue": "mail"}),
        ("  queue:mail   status:failed ", {"queue": "mail", "status": "failed"}),
        ('tag:"big customer" error:http_5xx', {"tag": "big customer", "error_type": "http_5xx"}),
        ("host:example.com", {"destination": "https://example.com"}),
        ("host:http://example.com:8080", {"destination": "http://example.com:8080"}),
        ("after:2026-01-31T09:30:00Z", {"created_after": "2026-01-31T09:30:00Z"}),
        ("before:2026-01-31T09:30:00Z", {"created_before": "2026-01-31T09:30:00Z"}),
        ("queue:a queue:b", {"queue": "b"}),
        ("", {}),
    ],
)
def test_words_are_parameters_of_the_list_and_back(text: str, parameters: dict[str, str]) -> None:
    assert read_search(text) == Search(parameters=parameters)
    assert read_search(as_text(parameters)).parameters == parameters


@pytest.mark.parametrize("text", [ID, f"id:{ID}", ID.lower(), f"  {ID} ", f"queue:mail id:{ID}"])
def test_an_id_leads_to_its_task(text: str) -> None:
    assert read_search(text).task_id == ID


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("mail", "queue:mail"),
        ("queue:mail overdue", "What is overdue?"),
        ("owner:ada", "There is no owner:"),
        ("task_123", "task_123 is no id of a task"),
        ("id:7", "7 is no id of a task"),
        ('"<script>"', "What is <script>?"),
    ],
)
def test_what_means_nothing_is_said(text: str, part: str) -> None:
    found = read_search(text)
    assert (found.task_id, found.parameters) == (None, {})
    assert found.wrong is not None
    assert part in found.wrong
