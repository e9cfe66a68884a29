"""``aq send`` and ``aq tasks`` against a real server."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.cli_world import AQ, Ended, clean_environment
from tests.cli.conftest import Command
from tests.dashboard.served import Served


def sent(call: Command, *args: str) -> str:
    """The id of a new task."""
    ended = call("send", *args, "--json")
    assert ended.code == 0, ended.err
    return str(ended.json["id"])


def errors(ended: Ended) -> tuple[int, str]:
    assert ended.out == ""
    return ended.code, ended.err


def test_send_makes_a_task_of_all_that_it_was_given(call: Command, hook: str, tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text('{"n": 1.10}')
    ended = call(
        *(
            "send",
            hook,
            "-d",
            f"@{tmp_path}/payload.json",
            "--queue",
            "all",
            "--delay",
            "2h",
            "--priority",
            "8",
        ),
        *("--max-retries", "1", "--timeout", "1m", "--method", "PUT", "-H", "X-A: b", "--expires-in", "1d"),
        *("--ordering-key", "o", "--tag", "t", "--tag", "u", "--callback-url", hook, "--json"),
    )
    task = ended.json
    names = ("queue", "delay", "priority", "max_retries", "timeout", "method", "expires_in", "ordering_key")
    assert [task[name] for name in names] == ["all", 7_200, 8, 1, 60, "PUT", 86_400, "o"]
    assert (task["tags"], task["callback_url"], task["headers"]) == (["t", "u"], hook, {"x-a": "***"})
    assert '"payload": {\n    "n": 1.10\n  }' in call("tasks", "get", task["id"], "--json").out


def test_a_payload_may_come_from_stdin_and_a_time_be_given(call: Command, hook: str) -> None:
    ended = call("send", hook, "-d", "-", "--at", "2026-01-31T09:30:00+01:00", "--json", given='{"n": 1}')
    assert ended.json["run_at"] == "2026-01-31T08:30:00Z"
    assert call("tasks", "get", ended.json["id"], "--json").json["payload"] == {"n": 1}


def test_send_waits_and_tells_each_attempt(call: Command, hook: str) -> None:
    ended = call("send", hook, "--queue", "waited", "--wait")
    lines = ended.out.splitlines()
    assert (ended.code, lines[0].split()[1:], lines[1].split()[1:4]) == (
        0,
        ["waited", "pending"],
        ["attempt", "1", "200"],
    )
    assert lines[2].startswith("completed after 1 attempt")


def test_a_task_that_failed_is_exit_code_5_and_its_retry_is_shown(call: Command, hook: str) -> None:
    ended = call("send", f"{hook}?status=500", "--max-retries", "0", "--wait")
    assert ended.code == 5
    assert "attempt 1  500" in ended.out
    assert "failed: exhausted, http_5xx, after 1 attempt" in ended.err
    assert "aq tasks retry task_" in ended.err
    ended = call("send", f"{hook}?status=500", "--max-retries", "0", "--wait", "--json")
    assert (ended.code, ended.json["status"], len(ended.json["attempts"])) == (5, "failed", 1)
    assert (ended.error["exit_code"], ended.error["hint"]) == (
        5,
        f"Once its cause is mended: aq tasks retry {ended.json['id']}",
    )


def test_a_wait_that_runs_out_is_exit_code_5(call: Command, hook: str) -> None:
    ended = call("send", hook, "--delay", "1h", "--wait-timeout", "0.2", "--json")
    assert (ended.code, ended.json["status"]) == (5, "pending")
    assert "aq tasks explain" in ended.err
    assert call("tasks", "wait", ended.json["id"], "--timeout", "100ms").code == 5


def test_a_repeated_idempotency_key_is_one_task(call: Command, hook: str) -> None:
    first, second = (sent(call, hook, "--delay", "1h", "--idempotency-key", "once") for _ in range(2))
    assert first == second


WRONG = {
    "no json": ["-d", "{"],
    "no object": ["-d", "[1]"],
    "no file": ["-d", "@none.json"],
    "no duration": ["--delay", "soon"],
    "no time": ["--at", "tomorrow"],
    "no header": ["-H", "X-A"],
    "priority": ["--priority", "11"],
    "refused by the service": ["--delay", "1h", "--at", "2026-01-31T09:30:00Z"],
}


@pytest.mark.parametrize("args", WRONG.values(), ids=WRONG.keys())
def test_wrong_values_are_wrong_usage(call: Command, hook: str, args: list[str]) -> None:
    code, said = errors(call("send", hook, *args))
    assert code == 2
    assert "Traceback" not in said


def test_what_the_service_refuses_names_every_field_in_json(call: Command, hook: str) -> None:
    ended = call("send", "nope", "--queue", "a b", "--json")
    assert (ended.code, ended.out) == (2, "")
    assert {wrong["field"] for wrong in ended.error["errors"]} == {"webhook_url", "queue"}
    assert ended.error["status"] == 422


def test_tasks_are_created_from_an_object_a_list_or_lines(call: Command, hook: str, tmp_path: Path) -> None:
    one = {"queue": "made", "webhook_url": hook, "delay": 3_600, "payload": {"n": 10**30}}
    exact = json.dumps(one).replace(str(10**30), "1.10")
    (tmp_path / "tasks.jsonl").write_text("\n".join([json.dumps(one)] * 3) + "\n\n")
    for text, count in ((json.dumps(one, indent=2), 1), (json.dumps([one] * 2), 2)):
        assert len(call("tasks", "create", text, "--json").json) == count
        assert len(call("tasks", "create", "-", "--json", given=text).json) == count
    ended = call("tasks", "create", f"@{tmp_path}/tasks.jsonl")
    assert len(ended.out.splitlines()) == 3
    task_id = ended.out.split()[0]
    assert call("tasks", "get", task_id, "--json").json["payload"] == {"n": 10**30}
    made = call("tasks", "create", exact, "--json").json[0]["id"]
    assert '"n": 1.10' in call("tasks", "get", made, "--json").out
    for wrong in ("{", "[1]", '{"queue": 1}'):
        assert errors(call("tasks", "create", wrong))[0] == 2


def test_more_tasks_than_a_batch_holds_are_created_with_progress(call: Command, hook: str) -> None:
    lines = "\n".join([json.dumps({"queue": "many", "webhook_url": hook, "delay": 3_600})] * 1_500)
    ended = call("tasks", "create", "-", given=lines)
    assert len(ended.out.splitlines()) == 1_500
    assert ended.err == "1,000 of 1,500 created\n1,500 of 1,500 created\n"


def test_lists_are_filtered_limited_and_aligned(call: Command, hook: str) -> None:
    ids = [sent(call, hook, "--queue", "listed", "--delay", "1h", "--tag", "even") for _ in range(3)]
    found = call("tasks", "list", "--queue", "listed", "--tag", "even", "--json").json
    assert [task["id"] for task in found] == ids[::-1]
    ended = call("tasks", "list", "--queue", "listed", "--limit", "2")
    head, *rows = ended.out.splitlines()
    assert head.split() == ["ID", "QUEUE", "STATUS", "PRIORITY", "WHEN", "ERROR", "WEBHOOK"]
    assert [row.split()[0] for row in rows] == ids[:0:-1]
    assert {row.index(hook) for row in rows} == {head.index("WEBHOOK")}
    assert "--all" in ended.err
    assert len(call("tasks", "list", "--queue", "many", "--all", "--json").json) == 1_500


def test_an_empty_list_is_exit_code_0(call: Command) -> None:
    assert (call("tasks", "list", "--queue", "none", "--json").out) == "[]\n"
    ended = call("tasks", "list", "--queue", "none")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "there are no such tasks (`aq queues list` shows all queues)\n"


def test_get_shows_attempts_and_nothing_that_moves_the_cursor(call: Command, hook: str) -> None:
    task_id = sent(call, f"{hook}?status=500", "--max-retries", "0", "--delay", "1", "-d", '{"a": "\\u001b"}')
    call("tasks", "wait", task_id)
    shown = call("tasks", "get", task_id).out
    assert "attempt 1  500" in shown
    assert '{"received":true}' in shown
    assert "\x1b" not in shown


def test_watch_tells_attempts_and_exits_0(call: Command, hook: str) -> None:
    task_id = sent(call, f"{hook}?status=500", "--max-retries", "0", "--delay", "1")
    ended = call("tasks", "watch", task_id)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "failed")
    assert "attempt 1  500" in ended.out
    (line,) = call("tasks", "watch", task_id, "--json").out.splitlines()
    assert json.loads(line)["response_code"] == 500


def test_watch_without_an_id_tells_what_happens(server: Served, call: Command, hook: str) -> None:
    environment = {**clean_environment(), "AQ_URL": server.url, "AQ_API_KEY": server.key}
    command = [*AQ, "tasks", "watch", "--queue", "watched", "--count", "2"]
    with (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as plain,
        subprocess.Popen(
            [*command, "--json"], env=environment, stdout=subprocess.PIPE, text=True
        ) as documents,
    ):
        assert plain.stdout is not None
        assert documents.stdout is not None
        while plain.poll() is None or documents.poll() is None:  # they listen from some moment on
            call("send", hook, "--queue", "watched", "--delay", "1h")
        lines = plain.stdout.read().splitlines()
        assert [re.split(r"  +", line)[1:3] for line in lines] == [["task.created", "watched"]] * 2
        found = [json.loads(line) for line in documents.stdout]
    assert [event["event"] for event in found] == ["task.created"] * 2
    assert found[0]["task_id"].startswith("task_")


def test_retry_delete_and_explain(call: Command, hook: str) -> None:
    failed = sent(call, f"{hook}?status=500", "--max-retries", "0", "--delay", "1")
    assert call("tasks", "wait", failed).code == 5
    assert [task["id"] for task in call("tasks", "retry", failed, "--json").json] == [failed]
    pending = sent(call, hook, "--delay", "1h")
    explained = call("tasks", "explain", pending, "--json").json
    assert [reason["reason"] for reason in explained["reasons"]] == ["scheduled"]
    assert "scheduled" in call("tasks", "explain", pending).out
    assert call("tasks", "delete", pending).code == 2
    assert call("tasks", "delete", pending, "--yes", "--json").json == {"deleted": [pending]}
    assert call("tasks", "get", pending).code == 3


def test_what_is_not_there_is_exit_code_3_and_a_conflict_1(call: Command, hook: str) -> None:
    none = "task_01JDE3G5P00007CMS8H5KDRDQG"
    for command in ("get", "wait", "watch", "retry", "explain"):
        assert errors(call("tasks", command, none))[0] == 3
    assert call("tasks", "delete", none, "--yes").code == 3
    done = sent(call, hook, "--delay", "1")
    assert call("tasks", "wait", done).code == 0
    code, said = errors(call("tasks", "retry", done))
    assert code == 1
    assert "failed" in said
