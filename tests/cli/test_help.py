"""What ``aq`` says about itself: every help has an example, and each example is a command that there is."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from aq.cli import main
from tests.cli.cli_world import AQ, SETTINGS, aq, clean_environment, every_command

COMMANDS = dict(every_command())


def help_of(words: tuple[str, ...]) -> str:
    return aq(*words, "--help").out


def examples(text: str) -> list[list[str]]:
    """The command lines of a help, as words; a line that ends in a backslash goes on."""
    found = re.findall(r"(?:^ {4,}|\$\(|\) |=\S+ )aq ([^#\n)>|]*)", text.replace("\\\n", " "), re.MULTILINE)
    return [shlex.split(words) for words in found]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the files that examples name."""
    monkeypatch.chdir(tmp_path)
    for name in ("body.json", "task.json", "tasks.jsonl"):
        (tmp_path / name).write_text("{}")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_has_an_example_that_parses(words: tuple[str, ...]) -> None:
    found = examples(help_of(words))
    assert found
    for example in found:
        parse(example)
    assert any(tuple(example[: len(words)]) == words for example in found)


def parse(words: list[str]) -> None:
    """Raises UsageError for what the command line would refuse."""
    command: click.Command = main
    context: click.Context | None = None
    rest = words
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context, info_name=command.name, **SETTINGS)
        name, found, rest = command.resolve_command(context, rest)
        assert name, words
        assert found
        command = found
    with command.make_context(command.name, rest, parent=context):
        pass


def test_every_option_says_what_it_is() -> None:
    silent = [
        (*words, *parameter.opts)
        for words, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not (parameter.help or "").partition("[")[0].strip()
    ]
    assert silent == []


def test_no_line_of_a_list_of_commands_is_cut() -> None:
    for words, command in COMMANDS.items():
        if isinstance(command, click.Group):
            assert "..." not in help_of(words).partition("Options:")[2]


def test_help_and_version_load_nothing_heavy() -> None:
    heavy = {"trio", "quart", "hypercorn", "msgspec", "cattrs", "httpx", "rich", "attrs"}
    for option in ("--help", "--version"):
        code = f"""
import sys
from aq.cli import main
try:
    main([{option!r}])
except SystemExit:
    sys.stderr.write(repr(sorted({heavy!r} & set(sys.modules))))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stderr == "[]", option


def test_an_unknown_command_is_wrong_usage_that_names_it_and_what_is_like_it() -> None:
    for words, said in (
        (("sned",), "there is no command sned; did you mean send?"),
        (("xyzzy", "--json"), "there is no command xyzzy"),
        (("--url", "http://127.0.0.1:9", "tasks", "list"), "aq COMMAND --url"),
    ):
        ended = aq(*words)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err
    assert "did you mean" not in aq("xyzzy").err


def test_with_json_wrong_usage_is_one_object_on_stderr() -> None:
    ended = aq("secret", "--prot", "--json")
    assert (ended.code, ended.out) == (2, "")
    assert ended.error["exit_code"] == 2
    assert "--prot" in ended.error["error"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    script = aq("completion", shell).out
    assert "_AQ_COMPLETE" in script
    assert f"{shell}_complete" in script


def test_the_script_of_bash_completes_commands() -> None:
    asked = {"_AQ_COMPLETE": "bash_complete", "COMP_WORDS": "aq ver", "COMP_CWORD": "1"}
    done = subprocess.run(
        AQ, env={**clean_environment(), **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout == "plain,verify\n"


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    """``aq … | true``: with the reading end closed before anything is written."""
    command = "(sleep 0.1; exec {} secret) | true; echo ${{PIPESTATUS[0]}}"
    bash = ["bash", "-c", command.format(" ".join(map(shlex.quote, AQ)))]
    done = subprocess.run(
        bash, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
