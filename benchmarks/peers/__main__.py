"""Ours beside what people would use instead: the same receiver, in turn, run by run.

    python -m benchmarks.peers [--quick] [--runs N] [--only PEER]… [--publish]

Everything that a peer needs is put into .bench/peers on the first run (some 500 MB over the network). Each
peer runs on loopback, in a folder that is gone afterwards. One that cannot be had is named with the reason.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import trio

from aq.bench.programs import open_sink
from benchmarks import report
from benchmarks.__main__ import keep, progress, publish
from benchmarks.lab import Lab, Sizes
from benchmarks.peers import session
from benchmarks.peers.install import install
from benchmarks.peers.peers import PEERS
from benchmarks.peers.rows import SCENARIO
from benchmarks.results import Results, this_machine


async def measure(results: Results, names: list[str], runs: int, amounts: session.Amounts) -> None:
    """Ours and each peer in turn. A peer that fails in one run is named, and left out from then on."""
    peers = {peer.name: peer for peer in PEERS if peer.name in names and peer.name not in results.missing}
    async with open_sink() as sink:
        with progress() as bar:
            task = bar.add_task("", total=runs * (1 + len(peers)))
            for _ in range(runs):
                bar.update(task, description="aq")
                figures = await session.of_ours(Lab(Sizes(), sink), amounts)
                run = {f"aq_{name}": value for name, value in figures.items()}
                bar.advance(task)
                for name in [name for name in peers if name not in results.missing]:
                    bar.update(task, description=name)
                    try:
                        figures = await session.of_peer(peers[name], sink, amounts)
                    except (AssertionError, OSError, trio.TooSlowError) as error:
                        results.missing[name] = str(error) or type(error).__name__
                    else:
                        run |= {f"{name}_{figure}": value for figure, value in figures.items()}
                    bar.advance(task)
                results.add(SCENARIO, run)


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
        trio.run(measure, results, names, arguments.runs, amounts)
    finally:
        keep(results, "peers")
    lines = report.judged(results)
    report.show(results, lines)
    if arguments.publish:
        publish(results, "peers", lines)


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
