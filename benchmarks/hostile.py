"""How late healthy tasks start while a hundred receivers do harm, beside the same run without them.

    python -m benchmarks.hostile [--tasks N] [--receivers N]

`aq serve` on SQLite, in a process of its own; so are the hostile receivers and the healthy one. The hostile
ones hang, drip heads and bodies, flood with bodies, headers, interim answers and TLS handshakes without end,
answer with garbage, or reset; each is a destination of its own, and its task is tried again a second after it
has failed. Healthy tasks go at 20 a second to a queue of their own, and to the queue of the hostile ones.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import trio

from aq.bench.programs import open_sink
from benchmarks.server import Server

Script: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TIMEOUT = 5
GAP = 0.05
"""Seconds between healthy tasks."""


# -- the hostile ones ---------------------------------------------------------------------------------------
def says(said: bytes, piece: bytes = b"", every: float = 0) -> Script:
    """Say this after the request, then ``piece`` for ever: each so many seconds, or as fast as it goes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(said)
        while piece:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every)
        await reader.read()

    return script


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1 << 16)
    writer.transport.abort()


OK = b"HTTP/1.1 200 OK\r\n"
SCRIPTS: Sequence[tuple[str, Script]] = (
    ("http", says(b"")),
    ("http", says(OK, b"X", 0.1)),
    ("http", says(OK + b"\r\n", b"x", 0.1)),
    ("http", says(b"HTTP/1.1 500 Oh\r\n\r\n", b"x" * 16_384)),
    ("http", says(OK + b"X: ", b"x" * 16_384)),
    ("http", says(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99)),
    ("http", says(b"SSH-2.0-OpenSSH\r\n")),
    ("https", says(b"")),
    ("https", says(b"", b"\x16\3\3\x3e\x80" + bytes(16_000))),
    ("http", reset),
)


async def serve_hostile() -> None:
    """One port for each kind: a task names another host of 127.0.0.0/8 to be a destination of its own."""
    ports = []
    for _, script in SCRIPTS:
        server = await asyncio.start_server(quietly(script), "0.0.0.0", 0, backlog=1024)
        ports.append(server.sockets[0].getsockname()[1])
    print(" ".join(map(str, ports)), flush=True)
    await asyncio.Event().wait()


def quietly(script: Script) -> Script:
    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except ConnectionError:
            return  # the other side had enough
        finally:
            writer.close()

    return run


# -- the run ------------------------------------------------------------------------------------------------
async def run(tasks: int, urls: Sequence[str], healthy: str) -> dict[str, list[int]]:
    """Of each healthy task its lateness and duration in ms, by queue; of each hostile one the number of its
    attempts; of the server its peak memory in MiB.
    """
    with tempfile.TemporaryDirectory() as directory:
        server = Server(directory)
        await server.start()
        try:
            async with server.client() as client:
                return {**await measure(client, tasks, urls, healthy), "peak MiB": [peak(server)]}
        finally:
            server.stop()


async def measure(
    client: httpx.AsyncClient, tasks: int, urls: Sequence[str], healthy: str
) -> dict[str, list[int]]:
    mixed = {"concurrency": len(urls) + 50, "destination_concurrency": 1, "timeout": TIMEOUT}
    retries = {"max_retries": 100, "retry_backoff": "fixed", "retry_delay": 1, "retry_jitter": 0}
    await client.post("/v1/queues", json={"name": "mixed", **mixed, **retries})
    hostile = [
        (await client.post("/v1/tasks", json={"queue": "mixed", "webhook_url": url})).json()["id"]
        for url in urls
    ]
    await trio.sleep(TIMEOUT)
    made: dict[str, list[str]] = {"apart": [], "mixed": []}
    for number in range(tasks):
        queue = ("apart", "mixed")[number % 2]
        task = {"queue": queue, "webhook_url": healthy, "max_retries": 0}
        made[queue].append((await client.post("/v1/tasks", json=task)).json()["id"])
        await trio.sleep(GAP)
    figures: dict[str, list[int]] = {}
    for queue, ids in made.items():
        attempts = [await first_attempt(client, task_id) for task_id in ids]
        assert all(attempt["status"] == "success" for attempt in attempts), "a healthy task failed"
        for name in ("lateness_ms", "duration_ms"):
            figures[f"{queue} {name}"] = [attempt[name] for attempt in attempts]
    figures["hostile attempts"] = [
        len((await client.get(f"/v1/tasks/{task_id}")).json()["attempts"]) for task_id in hostile
    ]
    return figures


async def first_attempt(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    attempt: dict[str, Any] = (await client.get(f"/v1/tasks/{task_id}?wait=60")).json()["attempts"][0]
    return attempt


def peak(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) >> 10


async def compare(tasks: int, receivers: int) -> None:
    hostile = await trio.lowlevel.open_process(
        [sys.executable, "-m", "benchmarks.hostile", "--serve"], stdout=-1, stdin=-1
    )
    assert hostile.stdout is not None
    try:
        ports = list(map(int, (await hostile.stdout.receive_some()).split()))
        kinds = [(scheme, port) for (scheme, _), port in zip(SCRIPTS, ports, strict=True)]
        urls = [
            f"{scheme}://127.0.1.{number}:{port}/"
            for number, (scheme, port) in enumerate((kinds * receivers)[:receivers], 1)
        ]
        async with open_sink() as sink:
            for name, used in (("without", []), (f"with {receivers}", urls), ("without", [])):
                report(name, await run(tasks, used, sink.url))
    finally:
        hostile.terminate()
        await hostile.wait()


def report(name: str, figures: dict[str, list[int]]) -> None:
    for what, values in figures.items():
        ordered = sorted(values) or [0]
        p50, p99 = (ordered[int(len(ordered) * part)] for part in (0.5, 0.99))
        print(f"{name:10} {what:18} p50 {p50:5}   p99 {p99:5}   most {ordered[-1]:5}   of {len(ordered)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=600)
    parser.add_argument("--receivers", type=int, default=100, help="at most 250")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve_hostile())
    else:
        trio.run(compare, arguments.tasks, min(arguments.receivers, 250))


if __name__ == "__main__":
    main()
