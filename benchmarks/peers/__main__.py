"""Ours beside what people would use instead: the same receiver, in turn, run by run.

    python -m benchmarks.peers [--quick] [--runs N] [--only PEER]… [--publish]

Everything that a peer needs is put into .bench/peers on the first run (some 500 MB over the network). Each
peer runs on loopback, in a folder that is gone afterwards. One that cannot be had is named with the reason.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aq.bench.programs import open_sink
from benchmarks import report
from benchmarks.__main__ import FAILURES, keep, progress, publish, reason, run
from benchmarks.lab import Lab, Sizes
from benchmarks.peers import session
from benchmarks.peers.install import install
from benchmarks.peers.peers import PEERS
from benchmarks.peers.rows import SCENARIO
from benchmarks.results import Results, this_machine


async def measure(results: Results, names: list[str], runs: int, amounts: session.Amounts) -> None:
    """Ours and each peer in turn. One that fails in a run is named, and left out from then on."""
    async with open_sink() as sink:
        sessions: dict[str, Callable[[], Awaitable[session.Figures]]] = {
            "aq": partial(session.of_ours, Lab(Sizes(), sink), amounts),
            **{
                peer.name: partial(session.of_peer, peer, sink, amounts)
                for peer in PEERS
                if peer.name in names
            },
        }
        with progress() as bar:
            task = bar.add_task("", total=runs * len(sessions))
            for _ in range(runs):
                found: session.Figures = {}
                for name, one in sessions.items():
                    bar.update(task, description=name)
                    if name not in results.missing:
                        try:
                            found |= {f"{name}_{figure}": value for figure, value in (await one()).items()}
                        except FAILURES as error:
                            results.missing[name] = reason(error)
                    bar.advance(task)
                results.add(SCENARIO, found)


def main() -> None:
    arguments = _arguments()
    missing = install(lambda text: print(text, file=sys.stderr))
    results = Results(this_machine(" ".join(["python -m benchmarks.peers", *sys.argv[1:]])))
    results.machine["durability"] += "\n" + "\n".join(f"{peer.title}: {peer.durability}" for peer in PEERS)
    for peer in PEERS:
        for part in peer.needs:
            if part in missing:
                results.missing[peer.name] = missing[part]
    amounts = session.QUICK if arguments.quick else session.Amounts()
    names = arguments.only or [peer.name for peer in PEERS]
    try:
        run(measure, results, names, arguments.runs, amounts)
    finally:
        keep(results, "peers")
    lines = report.judged(results)
    report.show(results, lines)
    if arguments.publish:
        publish(results, "peers", lines)
    sys.exit(1 if results.missing else 0)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.peers",
    )
    parser.add_argument("--quick", action="store_true", help="everything small: does it work?")
    parser.add_argument("--runs", type=int, default=5, help="of each peer; the table shows medians")
    parser.add_argument("--only", action="append", choices=[peer.name for peer in PEERS], help="repeatable")
    parser.add_argument("--publish", action="store_true", help="keep the results in the repository")
    return parser.parse_args()


if __name__ == "__main__":
    main()
