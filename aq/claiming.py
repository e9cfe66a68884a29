"""Idempotency keys: a request that is repeated gets the answer of the first one. Pure."""

from __future__ import annotations

import hashlib
from typing import Any, Final, TypeVar

import msgspec
from attrs import astuple, frozen, has

from aq.errors import ConflictError
from aq.instants import Instant, from_seconds
from aq.storage.answers import Claimed
from aq.storage.changes import Claim
from aq.task import Environment

KEPT: Final = 86_400
"""Seconds for which a key is remembered."""

T = TypeVar("T")


@frozen
class Claiming:
    """A request that carries an idempotency key."""

    environment: Environment
    name: str
    fingerprint: bytes
    """Of what was asked for: the same key with another one is a conflict."""
    now: Instant

    def of(self, answer: object) -> Claim:
        """The claim to be written with what the request does; ``answer`` is anything that msgspec takes."""
        return Claim(
            self.environment,
            self.name,
            self.fingerprint,
            msgspec.json.encode(answer),
            self.now + from_seconds(KEPT),
        )

    def replay(self, claimed: Claimed, kind: type[T]) -> T:
        """The first request's answer. Raises ConflictError when that one asked for something else."""
        if claimed.fingerprint != self.fingerprint:
            raise ConflictError("this idempotency key was used for another request within the last 24 hours")
        return msgspec.json.decode(claimed.answer, type=kind)


def fingerprint(what: str, *parts: object) -> bytes:
    """SHA-256 of a request: of what kind it is, and its validated fields (a payload by its bytes)."""
    return hashlib.sha256(repr((what, *map(_plain, parts))).encode()).digest()


def _plain(part: Any) -> object:
    """Every field, also those that a repr hides."""
    if has(type(part)):
        return astuple(part, recurse=False, filter=lambda field, _: field.name != "idempotency_key")
    return part
