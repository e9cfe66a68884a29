"""Who is signed in: a session for each, in bounded memory, for twelve hours at most.

A session is opened with an API key and is that key's: it ends with it, at a sign-out, and at the end of the
process. What a browser keeps is a random id; here is only its hash.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from hashlib import sha256
from typing import Final

from attrs import define, field, frozen

from aq.clock import ServiceClock
from aq.instants import SECOND, Instant
from aq.keys import Grant

MAX_SESSIONS: Final = 1_000
"""Beyond, the one that was opened first ends."""
SESSION_SECONDS: Final = 12 * 3_600
WINDOW_SECONDS: Final = 60
MAX_FAILURES: Final = 10
"""Wrong keys that an address may present in a window."""
_MAX_ADDRESSES: Final = 1_000


@define(eq=False, kw_only=True)
class Session:
    """One browser's."""

    grant: Grant
    label: str
    """The key, as people know it."""
    digest: str = field(repr=False)
    """SHA-256 of the cookie's value."""
    ends_at: Instant
    csrf: str = field(factory=secrets.token_urlsafe, repr=False)
    """What every form carries: it shows that a page of this session asks."""
    notice: str | None = None
    """What the next page says first: how the last action went."""


class Sessions:
    """Those that are open. `find` is asked at every request."""

    def __init__(self, clock: ServiceClock) -> None:
        self._clock = clock
        self._open: OrderedDict[str, Session] = OrderedDict()

    def open(self, grant: Grant, label: str) -> tuple[Session, str]:
        """A new session, and the value for its cookie (256 random bits)."""
        value = secrets.token_urlsafe(32)
        ends_at = self._clock.now() + SESSION_SECONDS * SECOND
        session = Session(grant=grant, label=label, digest=_digest(value), ends_at=ends_at)
        while len(self._open) >= MAX_SESSIONS:
            self._open.popitem(last=False)
        self._open[session.digest] = session
        return session, value

    def find(self, value: str | None) -> Session | None:
        """The open session that a cookie names. None when it has expired, or its key was revoked."""
        session = None if value is None else self._open.get(_digest(value))
        return session if session is not None and self.holds(session) else None

    def holds(self, session: Session) -> bool:
        """Whether it is still open; one whose time has come is closed."""
        if session.grant.revoked.is_set() or self._clock.now() >= session.ends_at:
            self.close(session)
        return session.digest in self._open

    def close(self, session: Session) -> None:
        """From now on its cookie opens nothing."""
        self._open.pop(session.digest, None)

    def __len__(self) -> int:
        return len(self._open)


@frozen
class _Window:
    ends_at: Instant
    failures: int


class Attempts:
    """How many wrong keys came from an address lately. In bounded memory: the oldest address is forgotten."""

    def __init__(self, clock: ServiceClock) -> None:
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def wait(self, address: str) -> int:
        """For how many seconds no key is taken from there; 0 is "now"."""
        window = self._current(address)
        if window is None or window.failures < MAX_FAILURES:
            return 0
        return -(-(window.ends_at - self._clock.now()) // SECOND)

    def failed(self, address: str) -> None:
        """One more."""
        window = self._current(address) or _Window(self._clock.now() + WINDOW_SECONDS * SECOND, 0)
        self._windows.pop(address, None)
        while len(self._windows) >= _MAX_ADDRESSES:
            self._windows.popitem(last=False)
        self._windows[address] = _Window(window.ends_at, window.failures + 1)

    def _current(self, address: str) -> _Window | None:
        window = self._windows.get(address)
        return window if window is not None and self._clock.now() < window.ends_at else None


def _digest(value: str) -> str:
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
