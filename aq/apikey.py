"""API keys: who may ask for what. Pure."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from aq.instants import Instant
from aq.task import Environment


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
