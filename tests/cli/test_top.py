"""``aq top``: what it shows once and live, and that it says when it is not live."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from aq.cli.top import Seen, picture, rows, sparkline
from aq.client.results import Counts, Queue, Rates, Stats
from tests.cli.cli_world import AQ, clean_environment
from tests.cli.conftest import Command
from tests.dashboard.served import serving

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def queue(name: str, lateness: float = 0, active: int = 0) -> Queue:
    return Queue(
        name=name, created_at=NOW, lateness=lateness, counts=Counts(active=active), rates=Rates(started=1.5)
    )


def test_the_latest_queue_is_first_then_the_busiest() -> None:
    queues = [queue("idle"), queue("busy", active=3), queue("late", lateness=9)]
    seen = Seen(NOW, queues, Stats(window=900, step=1, series=()))
    assert [row[0] for row in rows(seen)] == ["late", "busy", "idle"]


def test_a_column_is_as_high_as_its_part() -> None:
    assert sparkline([0, 5, 10]) == "▁▅█"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""


def test_figures_that_are_not_live_are_said_to_be_so_and_names_cannot_draw() -> None:
    seen = Seen(NOW, [queue("[red]q")], Stats(window=900, step=1, series=()), "connection refused")
    console = Console(file=io.StringIO(), width=100, height=20)
    console.print(picture("http://a.example", seen))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    assert "NOT LIVE since 09:30:00: connection refused" in drawn
    assert "[red]q" in drawn


def test_once_shows_queues_and_rates(call: Command, hook: str) -> None:
    call("send", hook, "--queue", "topped", "--wait")
    ended = call("top", "--once")
    assert ended.code == 0
    assert re.search(r"^per second   created \d", ended.out, re.MULTILINE)
    assert re.search(r"^topped +0 +0 +0 +1 +0 ", ended.out, re.MULTILINE)
    found = call("top", "--json").json
    assert "topped" in [it["name"] for it in found["queues"]]
    assert found["stats"]["series"]


def test_at_a_terminal_it_lives_says_when_it_does_not_and_ends_at_an_interrupt(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with serving(tmp_path) as server:
        environment = {**clean_environment(), "AQ_URL": server.url, "AQ_API_KEY": server.key}
        environment |= {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        command = [*AQ, "top", "--interval", "0.1"]
        process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = until(ours, b"per second")
    try:
        shown += until(ours, b"NOT LIVE")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        shown += rest(ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert shown.count(b"\x1b[?1049h") == shown.count(b"\x1b[?1049l") == 1  # the screen before is back
    assert b"Traceback" not in shown


def until(terminal: int, text: bytes) -> bytes:
    data = b""
    while text not in data:
        data += os.read(terminal, 10_000)
    return data


def rest(terminal: int) -> bytes:
    data = b""
    while select.select([terminal], [], [], 0)[0]:
        try:
            data += os.read(terminal, 10_000)
        except OSError:  # how Linux says that the other side of a terminal has closed
            break
    return data
