"""Who may ask: one kind of key for now, and it may do everything.

A key is kept as the SHA-256 of its text. It has over 190 random bits, so a slow hash would add cost and no
safety; the comparison takes the same time whatever the caller sent.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from typing import Final

from attrs import field, frozen
from quart import request
from quart_trio import QuartTrio

from aq.api.problems import UnauthorizedError

PREFIX: Final = "aq_live_"
LEAST_SECRET: Final = 32
_OPEN: Final = frozenset({"healthz", "readyz", "receiver"})
_ALPHABET: Final = string.ascii_letters + string.digits
_CHALLENGE: Final = 'Bearer realm="asyncqueue"'


def new_key() -> str:
    """``aq_live_`` and 43 random characters (256 bits)."""
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(43))


def check_key(key: str) -> str:
    """A key that an operator chose. Raises ValueError saying what it must be, never what it is."""
    if not re.fullmatch(rf"{PREFIX}[!-~]{{{LEAST_SECRET},}}", key):
        raise ValueError(f"must be {PREFIX} followed by at least {LEAST_SECRET} printable characters")
    return key


def hash_key(key: str) -> str:
    """What is kept of a key: 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


@frozen
class Keys:
    """The keys that are valid, as hashes."""

    hashes: tuple[str, ...] = field(converter=tuple[str, ...])

    @classmethod
    def of(cls, keys: Iterable[str]) -> Keys:
        """From the keys' own texts."""
        return cls(hash_key(key) for key in keys)

    def accept(self, key: str) -> bool:
        """Whether the key is one of these. Every hash is compared, each in constant time."""
        digest = hash_key(key)
        verdicts = [hmac.compare_digest(digest, known) for known in self.hashes]
        return any(verdicts)


def require_keys(app: QuartTrio, keys: Keys) -> None:
    """Without a valid key every route but the open ones is a 401, and so is what is unknown under ``/v1``."""

    @app.before_request
    async def check() -> None:
        unknown = request.endpoint is None
        if request.endpoint in _OPEN or (unknown and not f"{request.path}/".startswith("/v1/")):
            return
        key = _presented()
        if key is None:
            raise UnauthorizedError(
                "send an API key: Authorization: Bearer aq_live_…, or X-API-Key: aq_live_…",
                challenge=_CHALLENGE,
            )
        if not keys.accept(key):
            raise UnauthorizedError(
                "this API key is not valid", challenge=_CHALLENGE + ', error="invalid_token"'
            )


def _presented() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return request.headers.get("X-API-Key")
