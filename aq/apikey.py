"""API keys: who may ask for what, and what the text of a key looks like. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from attrs import field, frozen

from aq.instants import Instant
from aq.rules import PLAIN, QUEUE_NAME, Integer, Items, OneOf, Optional, Text, enforce, given
from aq.task import Environment

PREFIXES: Final[Mapping[Environment, str]] = {
    Environment.LIVE: "aq_live_",
    Environment.TEST: "aq_test_",
}
LEAST_SECRET: Final = 32
"""Characters after the prefix of a key that an operator chose."""


class Scope(StrEnum):
    """What a key may do. None of them includes another."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    """API keys themselves."""


@frozen(kw_only=True)
class ApiKey:
    """A key as kept: its text is nowhere, only the text's hash."""

    id: str
    name: str
    environment: Environment
    hash: str = field(repr=False)
    """SHA-256 of the key's text, 64 hexadecimal digits."""
    scopes: tuple[Scope, ...]
    queues: tuple[str, ...] | None = None
    """The queues it may see and use; None is "all"."""
    rate_limit_per_minute: int | None = None
    created_at: Instant
    revoked_at: Instant | None = None


class KeyEnvironment(StrEnum):
    """The environments that a key can be for."""

    LIVE = Environment.LIVE.value
    TEST = Environment.TEST.value


@frozen(kw_only=True)
class NewKey:
    """A key as asked for. Raises ValidationError naming every wrong field."""

    name: Annotated[str, Text(f"{PLAIN}{{1,100}}", "1 to 100 characters without controls")]
    """For people."""
    environment: Annotated[KeyEnvironment, OneOf(KeyEnvironment)] = field(
        default=KeyEnvironment.LIVE, converter=given
    )
    scopes: Annotated[tuple[Scope, ...], Items(OneOf(Scope), 1, len(Scope))] = field(
        default=(Scope.READ, Scope.WRITE), converter=given
    )
    queues: Annotated[tuple[str, ...] | None, Optional(Items(QUEUE_NAME, 1, 100))] = field(
        default=None, converter=given
    )
    """The only queues it may see and use; None is "all"."""
    rate_limit_per_minute: Annotated[int | None, Optional(Integer(1, 1_000_000))] = None
    """Requests; None is "no limit"."""

    def __attrs_post_init__(self) -> None:
        enforce(self)


def check_key(key: str) -> str:
    """A key that an operator chose. Raises ValueError saying what it must be, never what it is."""
    prefix = PREFIXES[Environment.LIVE]
    if not re.fullmatch(rf"{prefix}[!-~]{{{LEAST_SECRET},}}", key):
        raise ValueError(f"must be {prefix} followed by at least {LEAST_SECRET} printable characters")
    return key


def hash_key(key: str) -> str:
    """What is kept of a key: SHA-256, 64 hexadecimal digits.

    A made key has 256 random bits, so a slow hash would add cost and no safety.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
