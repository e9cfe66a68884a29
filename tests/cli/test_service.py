"""What a command does where the service, its answer or its user is not there; and at a terminal."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
from pathlib import Path

import trio

from tests.cli.cli_world import AQ, aq, clean_environment, process
from tests.cli.conftest import Command
from tests.dashboard.served import Served
from tests.server.serve_world import running


def test_where_nobody_answers_it_is_exit_code_4_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    ended = aq("tasks", "list", "--url", url, "--api-key", "aq_live_x", "--json")
    assert (ended.code, ended.out) == (4, "")
    assert "`make serve` starts one" in ended.error["hint"]
    assert "--url" in ended.error["hint"]


def test_what_is_no_address_or_key_is_wrong_usage() -> None:
    for url, key, named in (("ftp://a", "aq_live_x", "http://"), ("http://127.0.0.1:9", "a b", "api_key")):
        ended = aq("tasks", "list", "--url", url, "--api-key", key)
        assert ended.code == 2
        assert named in ended.err
    assert "begins with http://" in aq("tasks", "list", "--url", "127.0.0.1:8080").err


async def test_in_the_folder_of_a_development_server_nothing_need_be_set(tmp_path: Path) -> None:
    async with running(tmp_path, "--dev", "--storage", "memory:") as server:
        send = ("send", f"{server.url}/dev/receiver", "-d", '{"n": 1}', "--wait", "--json")
        ended = await trio.to_thread.run_sync(lambda: process(*send, folder=tmp_path))
        assert (ended.code, ended.json["status"]) == (0, "completed")
    gone = process("queues", "list", folder=tmp_path)
    assert gone.code == 2
    assert "AQ_API_KEY" in gone.err


def test_a_stale_file_of_a_killed_server_is_told(server: Served, tmp_path: Path) -> None:
    """Nobody answers at its address any more, or another server does, which does not know its key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    for url, code, hint in ((nobody, 4, "make serve"), (server.url, 1, "if another server runs there now")):
        path = tmp_path / ".aq.env"
        path.write_text(f"AQ_URL={url}\nAQ_API_KEY=aq_live_{'s' * 43}\n")
        path.chmod(0o600)
        ended = process("tasks", "list", folder=tmp_path)
        assert ended.code == code
        assert hint in ended.err


def at_terminal(server: Served, *args: str, typed: bytes = b"") -> tuple[int, str, str]:
    """Exit code, stdout and stderr; stdin is a terminal where somebody types, stdout one 100 columns wide."""
    ours, theirs = pty.openpty()
    environment = {**clean_environment(), "AQ_URL": server.url, "AQ_API_KEY": server.key}
    environment |= {"COLUMNS": "100", "TERM": "dumb"}
    out = theirs if not typed else subprocess.PIPE
    with subprocess.Popen(
        [*AQ, *args], env=environment, stdin=theirs, stdout=out, stderr=subprocess.PIPE
    ) as started:
        os.close(theirs)
        assert started.stderr is not None
        os.write(ours, typed)
        text = started.stdout.read() if started.stdout is not None else read_all(ours)
        said = started.stderr.read()
        code = started.wait()
    os.close(ours)
    return code, text.decode(), said.decode()


def read_all(terminal: int) -> bytes:
    data = b""
    while True:
        try:
            data += os.read(terminal, 10_000)
        except OSError:  # how Linux says that the other side of a terminal has closed
            return data


def test_at_a_terminal_it_asks_and_does_what_the_answer_says(
    server: Served, call: Command, hook: str
) -> None:
    for _ in range(2):
        call("send", hook, "--queue", "asked", "--delay", "1h")
    code, out, said = at_terminal(server, "queues", "purge", "asked", "--json", typed=b"n\n")
    assert (code, out) == (1, "")
    assert "Delete 2 pending tasks of queue asked? [y/N]" in said
    assert "nothing was done" in said
    assert call("queues", "purge", "asked", "--dry-run", "--json").json == {"count": 2}
    code, out, _ = at_terminal(server, "queues", "purge", "asked", "--json", typed=b"y\n")
    assert (code, out) == (0, '{\n  "count": 2\n}\n')


def test_an_end_of_input_at_the_question_does_nothing(server: Served, call: Command, hook: str) -> None:
    call("send", hook, "--queue", "eof", "--delay", "1h")
    assert at_terminal(server, "queues", "purge", "eof", typed=b"\x04")[0] == 130
    assert call("queues", "purge", "eof", "--dry-run", "--json").json == {"count": 1}


def test_a_terminal_gets_a_table_without_markup(server: Served, call: Command, hook: str) -> None:
    call("send", f"{hook}?[red]=1", "--queue", "drawn", "--delay", "1h")
    code, out, _ = at_terminal(server, "tasks", "list", "--queue", "drawn")
    assert code == 0
    assert "status" in out
    assert "STATUS" not in out
    assert "[red]" in out.replace("\r\n", "").replace(" ", "")


def test_an_interrupt_in_a_wait_is_130_and_without_a_trace(server: Served, call: Command, hook: str) -> None:
    task = call("send", hook, "--delay", "1h", "--json").json["id"]
    environment = {**clean_environment(), "AQ_URL": server.url, "AQ_API_KEY": server.key}
    with subprocess.Popen(
        [*AQ, "tasks", "wait", task],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        assert task in started.stdout.readline()
        started.send_signal(signal.SIGINT)
        assert started.wait() == 130
        assert "Traceback" not in started.stderr.read()
