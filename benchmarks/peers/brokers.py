"""What keeps the peers' jobs: on loopback, on a free port, in a folder of its own; ended with the block."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from benchmarks.peers import install


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def redis(folder: Path, fsync: str) -> AsyncIterator[str]:
    """An append-only file, and no snapshots."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    options += ["--appendonly", "yes", "--appendfsync", fsync, "--maxmemory-policy", "noeviction"]
    async with _running(
        [str(install.program("redis-server")), *options], folder, install.environment(), port
    ):
        yield str(port)


@asynccontextmanager
async def beanstalkd(folder: Path, fsync_ms: int) -> AsyncIterator[str]:
    port = free_port()
    options = ["-l", "127.0.0.1", "-p", str(port), "-b", str(folder), "-f", str(fsync_ms)]
    async with _running([str(install.program("beanstalkd")), *options], folder, install.environment(), port):
        yield str(port)


@asynccontextmanager
async def bunqueue(folder: Path) -> AsyncIterator[str]:
    """``HTTP port:TCP port``."""
    http, tcp = free_port(), free_port()
    main = install.NODE_MODULES / "bunqueue/dist/main.js"
    settings = {
        "HTTP_PORT": str(http),
        "TCP_PORT": str(tcp),
        "HOST": "127.0.0.1",
        "BUNQUEUE_DATA_PATH": str(folder / "bunqueue.db"),
        "RATE_LIMIT_MAX_REQUESTS": "1000000000",  # 10,000 a minute as it comes
    }
    async with _running([install.bun(), str(main)], folder, {**install.environment(), **settings}, http, tcp):
        yield f"{http}:{tcp}"


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[str]:
    """PostgreSQL as it comes: fsync and synchronous_commit are on."""
    program = [str(install.VENV / "python"), str(install.PROGRAMS / "postgres.py"), str(folder / "data")]
    with (folder / "broker.log").open("w") as log:
        process = await trio.lowlevel.open_process(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        with trio.fail_after(60):
            at = (await process.stdout.receive_some()).decode().strip()
        yield at
    finally:
        with trio.CancelScope(shield=True):
            await process.stdin.aclose()
            await process.wait()


@asynccontextmanager
async def _running(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], *ports: int
) -> AsyncIterator[None]:
    """Until every port can be connected to; then the block; then SIGTERM."""
    with (folder / "broker.log").open("w") as log:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=folder
        )
        try:
            with trio.fail_after(30):
                for port in ports:
                    await _until_open(port)
            yield
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _until_open(port: int) -> None:
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.05)
        else:
            return await stream.aclose()
