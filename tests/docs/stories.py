"""A page as a story: its blocks are done in order, by one reader, at a server, in an empty folder.

What a reader of a page may rely on, and so what a page may be written like:

- ``curl`` lines, ``export``, ``make`` verbs, and what lies in ``.venv/bin``. A comment at the end of a line
  names the status of an answer that is no 2xx (``# 409``), or the exit code of a command (``# exits 1``).
- A block with a title is a file: it is written, or, where the repository has it, stands there so.
- A block of shell titled "a second terminal" goes on running; one of text with that title is what it says.
- A block of shell with another title is typed elsewhere: its grammar is looked at, and what it names of here.
- JSON behind a command is part of its answer, text behind it part of what it prints: see `resembles`.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
import yaml
from attrs import define, field

from aq.cli.serve import serve
from aq.devfile import NAME
from tests.docs.blocks import ROOT, Block, blocks_of
from tests.docs.curl import Command, remembered
from tests.server.serve_world import MOST_SECONDS, Process, Serving, running, serving

SHELL_WORDS: Final = r"(?:curl|export|make|aq|\.venv/bin/\w+) "
_VARYING: Final = r"(?:task|sch|key)_[0-9A-Z]{26}|\d{4}-\d\d-\d\dT[\d:.]+Z|http://127\.0\.0\.1:\d+"


@define(kw_only=True)
class Story:
    """What a reader has: ``variables`` of the shell, the last request's ``answer``, what the last command
    ``printed``, and what runs ``beside``, in the second terminal."""

    folder: Path
    server: Serving
    stack: AsyncExitStack
    variables: dict[str, str] = field(factory=dict)
    port: int = field(factory=lambda: free_port())
    answer: Any = None
    printed: str = ""
    beside: Process | None = None

    async def tell(self, block: Block) -> None:
        text = block.text.replace("http://127.0.0.1:8080", self.server.url).replace("9000", str(self.port))
        match block:
            case Block(title="", follows=True, language="json" | "text"):
                self.compare(block.language, text)
            case Block(title=""):
                await self.do(block.language, text)
            case Block(language="sh", title="a second terminal"):
                await self.run_beside(text)
            case Block(language="text", title="a second terminal"):
                await self.hear(text)
            case Block(language="sh"):
                self.look_at(text)
            case _:
                self.put(block.title, text)

    def compare(self, language: str, text: str) -> None:
        if language == "json":
            assert resembles(json.loads(text), self.answer), self.answer
        else:
            assert prints(text, self.printed), self.printed

    async def do(self, language: str, text: str) -> None:
        match language:
            case "sh":
                for line in re.split(rf"\n(?={SHELL_WORDS})", text.strip()):
                    await self.type(line)
            case "python":
                await self.run([sys.executable, "-c", text], 0)
            case "yaml":
                yaml.safe_load(text)
            case "json":
                json.loads(text)
            case _:
                assert language == "", f"nobody knows how to run {language}: {text}"

    async def hear(self, text: str) -> None:
        assert self.beside is not None
        with trio.fail_after(MOST_SECONDS):
            for line in text.splitlines():
                await self.beside.until_said(line)

    def look_at(self, text: str) -> None:
        subprocess.run(["sh", "-n"], input=text, text=True, check=True, capture_output=True)
        for path in re.findall(r"(?<=[ =])(?:deploy|requirements)/[\w./-]+", text):
            assert (ROOT / path).exists(), f"there is no {path}"

    def put(self, title: str, text: str) -> None:
        if (ROOT / title).exists():
            assert text in (ROOT / title).read_text(), f"{title} has not what is shown of it"
        elif title == "aq.toml":
            keys = {key.replace("-", "_") for key in tomllib.loads(text)}
            unknown = keys - {parameter.name for parameter in serve.params}
            assert not unknown, f"there are no settings {unknown}"
        else:
            assert title.endswith((".py", ".json")), f"nobody knows whether {title} is right"
        path = self.folder / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    async def type(self, line: str) -> None:
        line, _, remark = line.partition("  # ")
        word, _, rest = line.partition(" ")
        if word == "curl":
            await self.ask(line, remark)
        elif word == "export":
            name, _, value = rest.partition("=")
            assert "…" not in value or name in self.variables, f"nobody has told {name}"
            self.variables |= {} if "…" in value else {name: value}
        elif word == "make":
            known = re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert rest.split()[0] in known, f"there is no verb for {line}"
        else:
            await self.run(self.command(line), int(remark.removeprefix("exits ") or 0))

    async def ask(self, line: str, status: str) -> None:
        reply = await Command.of(line, self.variables).run()
        expected = [int(status)] if status else range(200, 300)
        assert reply.status_code in expected, f"{line}\n{reply.status_code} {reply.text}"
        self.answer = reply.json() if "json" in reply.headers.get("content-type", "") else None
        if isinstance(self.answer, dict):
            self.variables.update(remembered(self.answer))

    def command(self, line: str) -> list[str]:
        words = shlex.split(line.replace("\\\n", " "))
        words = [re.sub(r"\$([A-Z_]+)", lambda it: self.variables[it[1]], word) for word in words]
        python = {"aq": ["-m", "aq"], "pytest": ["-m", "pytest", "-p", "no:cacheprovider"], "python": []}
        return [sys.executable, *python[words[0].removeprefix(".venv/bin/")], *words[1:]]

    @property
    def environment(self) -> dict[str, str]:
        return {**self.variables, "AQ_URL": self.server.url, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    async def run(self, command: list[str], code: int) -> None:
        done = await trio.run_process(
            command,
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", **self.environment},
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        assert done.returncode == code, (command, done.stderr.decode())
        self.printed = done.stdout.decode()

    async def run_beside(self, text: str) -> None:
        command = self.command(text.strip())
        self.beside = await self.stack.enter_async_context(
            running(self.folder, command=command, **self.environment)
        )

    async def tell_all(self, page: Path) -> None:
        """Raises AssertionError, with the page and the line as a note, where the page is not true."""
        for block in blocks_of(page):
            try:
                await self.tell(block)
            except Exception as error:
                error.add_note(f"{page.name}:{block.line}")
                raise


@asynccontextmanager
async def story(folder: Path) -> AsyncIterator[Story]:
    """A reader who has just started the server, in an empty folder. It is within this process: that is what
    ``aq serve --dev`` runs, and what starting it as often as there are pages would take is its imports."""
    async with AsyncExitStack() as stack:
        store = f"sqlite:///{folder}/aq.db"
        server = await stack.enter_async_context(serving(dev=True, storage=store, dev_file=folder / NAME))
        variables = {"AQ": server.url, "AQ_API_KEY": server.key}
        yield Story(folder=folder, server=server, stack=stack, variables=variables)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def resembles(shown: Any, answer: Any) -> bool:
    """Whether ``shown`` is part of ``answer``: names may be left out, all else is the same.

    But for ids, instants and addresses, of which there must be one where one is shown, and for fractions, of
    which there must be a number.
    """
    match shown, answer:
        case dict(), dict():
            return all(name in answer and resembles(shown[name], answer[name]) for name in shown)
        case list(), list():
            return len(shown) == len(answer) and all(map(resembles, shown, answer))
        case float(), int() | float():
            return True
        case str(), str():
            return re.sub(_VARYING, "…", shown) == re.sub(_VARYING, "…", answer)
    return bool(shown == answer)


def prints(shown: str, printed: str) -> bool:
    """Whether each line shown was printed, in this order; ``…`` stands for anything within a line."""
    wanted = [re.escape(re.sub(_VARYING, "…", line)).replace("…", ".*") for line in shown.splitlines()]
    return bool(
        re.search(r"^" + r"$(?:.*\n)*?.*?^".join(wanted) + "$", re.sub(_VARYING, "…", printed), re.MULTILINE)
    )
