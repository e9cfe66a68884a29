"""Everything that can be seen of a run, in order, as text; and its hash."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

import trio


class Trace:
    """Two runs of one seed have the same trace, or something was not drawn from the seed."""

    def __init__(self, *, kept: bool = False) -> None:
        """``kept`` keeps the lines, for people."""
        self.lines: list[str] = []
        self.events = 0
        self.faults: Counter[str] = Counter()
        """What was done to the engine, by kind."""
        self.coverage: Counter[tuple[str, str]] = Counter()
        """(what a client asked for, the state of what it asked about)."""
        self._kept = kept
        self._hash = sha256()

    def say(self, what: str, *parts: object) -> None:
        """Something happened at this instant."""
        line = f"{trio.current_time():.6f} {what} {' '.join(map(str, parts))}"
        self._hash.update(line.encode())
        self.events += 1
        if self._kept:
            self.lines.append(line)

    def fault(self, kind: str, *parts: object) -> None:
        """The world did something to the engine."""
        self.faults[kind] += 1
        self.say(kind, *parts)

    def hash(self) -> str:
        return self._hash.hexdigest()
