"""curl, as far as the documentation shows it, and what its answers are compared with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import httpx
import trio
from attrs import define, field

from tests.server.serve_world import client


@define
class Command:
    """A command line for curl, taken apart: as much of curl as the docs show (it may not be installed)."""

    method: str = ""
    url: str = ""
    body: str | None = None
    headers: dict[str, str] = field(factory=dict)
    most_seconds: float | None = None
    """Given for a stream, which does not end by itself."""

    @classmethod
    def of(cls, line: str, variables: dict[str, str]) -> Command:
        command, words = cls(), shlex.split(expanded(line.replace("\\\n", " "), variables))
        assert words.pop(0) == "curl"
        while words:
            match words.pop(0):
                case "-X":
                    command.method = words.pop(0)
                case "-d":
                    command.body = words.pop(0)
                case "-H":
                    name, _, command.headers[name] = words.pop(0).partition(": ")
                case "--max-time":
                    command.most_seconds = float(words.pop(0))
                case "-i" | "-N":
                    pass
                case word:
                    assert word.startswith("http"), word
                    command.url = word
        command.method = command.method or ("GET" if command.body is None else "POST")
        return command

    async def run(self) -> httpx.Response:
        async with client(self.url, None) as sender:
            return await sender.request(self.method, self.url, content=self.body, headers=self.headers)

    async def listen(self) -> str:
        """The id of a stream's first event, "" where it has none; within the seconds that it was given."""
        assert self.most_seconds is not None
        url, text = httpx.URL(self.url), ""
        lines = [f"{self.method} {url.raw_path.decode()} HTTP/1.1", f"Host: {url.host}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        with trio.fail_after(self.most_seconds):
            async with await trio.open_tcp_stream(url.host, url.port or 80) as stream:
                await stream.send_all("\r\n".join([*lines, "", ""]).encode())
                async for part in stream:
                    text += part.decode()
                    assert text.startswith("HTTP/1.1 200")
                    if event := re.search(r"^event: .+\n(?:id: (.+)\n)?data: {.+}\n\n", text, re.MULTILINE):
                        return event[1] or ""
        raise AssertionError("the stream ended without an event")


def expanded(line: str, variables: dict[str, str]) -> str:
    """What a shell makes of variables: nothing within single quotes."""
    return re.sub(r"'[^']*'|\$([A-Z_]+)", lambda it: variables[it[1]] if it[1] else it[0], line)


async def curl(line: str, variables: dict[str, str]) -> httpx.Response:
    return await Command.of(line, variables).run()


def remembered(answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    names = {"task": "TASK", "sch": "SCHEDULE", "key": "KEY_ID"}
    if "id" in answer:
        yield names[answer["id"].partition("_")[0]], answer["id"]
    if "key" in answer:
        yield "KEY", answer["key"]
    if cursor := answer.get("pagination", {}).get("next_cursor"):
        yield "CURSOR", cursor


def same_shape(shown: Any, answer: Any) -> bool:
    """The same names, all the way down, with values of the same kind."""
    if isinstance(shown, dict):
        return shown.keys() == answer.keys() and all(same_shape(shown[name], answer[name]) for name in shown)
    if isinstance(shown, list):
        return bool(shown) is bool(answer) and all(map(same_shape, shown, answer))
    kinds = (int, float) if isinstance(shown, int | float) else (type(shown), str)
    return isinstance(answer, kinds) or answer is None
