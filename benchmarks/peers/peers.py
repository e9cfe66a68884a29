"""Which peers there are, each with the settings that its own documentation advises, and what it promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Final

from attrs import field, frozen

from aq.bench.plan import Plan, stamp
from benchmarks.peers import brokers, install

JAVASCRIPT_WORK: Final = {"concurrency": 64}


@frozen(kw_only=True)
class Peer:
    """``command`` is the program that speaks to one at a place; `programs/main.mjs` says what is asked."""

    name: str
    title: str
    needs: tuple[str, ...]
    """Parts of what is installed."""
    durability: str
    broker: Callable[[Path], AbstractAsyncContextManager[str]]
    command: Callable[[str], Sequence[str]]
    workers: Callable[[str], Sequence[str]] | None = None
    """Its own command for workers; without one it is ``command … work``."""
    processes: int = 2
    """Of workers: one for each core, where it says nothing else."""
    work: Mapping[str, int] = JAVASCRIPT_WORK
    bulk: bool = True
    submit: Callable[[str, str], Plan] | None = None
    """Jobs one by one over HTTP, by our own load, to a place and for a receiver."""
    environment: Callable[[str], Mapping[str, str]] = field(default=lambda at: {})


def javascript(adapter: str, runtime: Callable[[], str], at: str) -> list[str]:
    return [runtime(), str(install.scripts() / "main.mjs"), adapter, at]


def python(script: str, at: str) -> list[str]:
    return [str(install.VENV / "python"), str(install.PROGRAMS / script), at]


def over_http(at: str, receiver: str) -> Plan:
    """A job for bunqueue, on disk before its answer."""
    body = f'{{"payload":{{"at":"{stamp(0)}","filler":"{"x" * 60}"}}}}'
    document = {
        "name": "post",
        "durable": True,
        "removeOnComplete": True,
        "data": {"url": receiver, "body": body},
    }
    return Plan(
        url=f"http://127.0.0.1:{at.split(':')[0]}",
        webhook_url=receiver,
        path="/queues/bench/jobs",
        document=document,
    )


def dramatiq(at: str) -> list[str]:
    """Two processes of eight threads, on two cores."""
    command = [str(install.VENV / "dramatiq"), "dramatiq_jobs", "--path", str(install.PROGRAMS)]
    return [*command, "--processes", "2", "--threads", "8"]


PEERS: Final[Sequence[Peer]] = (
    *(
        Peer(
            name=f"bullmq-{fsync}",
            title=f"BullMQ, Redis AOF {fsync}",
            needs=("debian", "node"),
            durability={
                "everysec": "Redis AOF, fsync once a second: a crash loses what was acknowledged since",
                "always": "Redis AOF, fsync before each answer",
            }[fsync],
            broker=partial(brokers.redis, fsync=fsync),
            command=partial(javascript, "bullmq", install.node),
        )
        for fsync in ("everysec", "always")
    ),
    Peer(
        name="beanstalkd",
        title="beanstalkd, 6 Python workers",
        needs=("debian", "python"),
        durability="a log, fsync every 50 ms: what was acknowledged in the last 50 ms can be lost",
        broker=partial(brokers.beanstalkd, fsync_ms=50),
        command=partial(python, "beanstalkd.py"),
        processes=6,
        work={},
        bulk=False,
    ),
    Peer(
        name="dramatiq",
        title="Dramatiq, Redis AOF everysec",
        needs=("debian", "python"),
        durability="Redis AOF, fsync once a second",
        broker=partial(brokers.redis, fsync="everysec"),
        command=partial(python, "dramatiq_jobs.py"),
        processes=1,
        workers=dramatiq,
        bulk=False,
        environment=lambda at: {"PEERS_PORT": at},
    ),
    Peer(
        name="bunqueue",
        title="bunqueue, jobs over HTTP",
        needs=("node",),
        durability="SQLite, WAL, synchronous=NORMAL; written before the answer, a power cut can lose it",
        broker=brokers.bunqueue,
        command=partial(javascript, "bunqueue", install.bun),
        submit=over_http,
    ),
    Peer(
        name="graphile",
        title="graphile-worker, PostgreSQL 18",
        needs=("node", "python"),
        durability="PostgreSQL, fsync and synchronous_commit on",
        broker=brokers.postgres,
        command=partial(javascript, "graphile", install.node),
    ),
)
