"""The rows in which ours stands beside the peers; targets where one is promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.peers.peers import PEERS
from benchmarks.rows import Row

SCENARIO: Final = "peers"
TARGETS: Final[Mapping[str, Mapping[str, float]]] = {
    "drain": {"bullmq-everysec": 1, "beanstalkd": 1},
    "end_to_end": {"bunqueue": 1.6},
    "bulk": {"bullmq-everysec": 1, "graphile": 1},
    "intake": {"bunqueue": 1.3},
}
"""The least ratio."""
STRETCH: Final[Mapping[str, Mapping[str, float]]] = {
    "drain": {"bullmq-everysec": 1.3, "beanstalkd": 1.2, "graphile": 1},
    "end_to_end": {"bullmq-always": 1, "bullmq-everysec": 1},
}
"""What was hoped for beyond it: told in the row, not judged."""
WHAT: Final[Mapping[str, str]] = {
    "drain": "drain of a backlog",
    "end_to_end": "end to end, one at a time while draining",
    "bulk": "intake, 500 at a time",
    "intake": "intake, one at a time, 32 in flight",
}


def _rows() -> list[Row]:
    made = []
    for figure, what in WHAT.items():
        for peer in PEERS:
            hoped = STRETCH.get(figure, {}).get(peer.name)
            made.append(
                Row(
                    what=what,
                    scenario=SCENARIO,
                    ours=f"aq_{figure}",
                    unit="/s",
                    beside=f"{peer.name}_{figure}",
                    called=peer.title + (f" (stretch: {hoped:g})" if hoped else ""),
                    least=TARGETS.get(figure, {}).get(peer.name),
                )
            )
    for part in ("p50", "p99"):
        made += [
            Row(
                what=f"submitted to webhook at 20/s, {part}",
                scenario=SCENARIO,
                ours=f"aq_{part}_ms",
                unit="ms",
                beside=f"{peer.name}_{part}_ms",
                called=peer.title,
                most=1 if peer.name == "bullmq-everysec" else None,
            )
            for peer in PEERS
        ]
    return made


ROWS: Final[Sequence[Row]] = _rows()
