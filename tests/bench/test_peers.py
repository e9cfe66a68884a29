"""How peers are measured, with one that needs nothing installed; the others are for `make bench-peers`."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import evolve

from aq.bench.programs import open_sink
from benchmarks.lab import QUICK, Lab
from benchmarks.peers.peers import PEERS, Peer
from benchmarks.peers.rows import ROWS, STRETCH, TARGETS
from benchmarks.peers.session import Amounts, of_ours, of_peer

FEW = Amounts(drain=20, end_to_end=10, intake=5, latency=3)
STUB = Path(__file__).parent / "stub_peer.py"
DOCS = Path(__file__).parents[2] / "docs/benchmarks.md"


@asynccontextmanager
async def file(folder: Path) -> AsyncIterator[str]:
    yield str(folder / "queue")


PEER = Peer(
    name="file",
    title="a file",
    needs=(),
    durability="none",
    broker=file,
    command=lambda at: [sys.executable, str(STUB), at],
    processes=1,
    work={},
)


async def test_ours_and_a_peer_are_measured_alike() -> None:
    async with open_sink() as sink:
        peer = await of_peer(PEER, sink, FEW)
        ours = await of_ours(Lab(evolve(QUICK, latency_rate=200), sink), FEW)
    assert set(peer) == set(ours) == {"bulk", "drain", "end_to_end", "intake", "p50_ms", "p99_ms"}
    assert all(value > 0 for value in (*peer.values(), *ours.values()))


def test_each_promise_is_about_a_peer_that_there_is_and_has_its_row() -> None:
    names = {peer.name for peer in PEERS}
    for figure, bounds in (*TARGETS.items(), *STRETCH.items()):
        assert set(bounds) <= names
        assert {row.beside for row in ROWS} >= {f"{name}_{figure}" for name in bounds}


def test_the_docs_have_a_line_for_each_peer() -> None:
    table = DOCS.read_text().partition("| peer |")[2].partition("\n\n")[0]
    assert len(re.findall(r"^\| [A-Za-z]", table, re.MULTILINE)) == len(PEERS) + 1
