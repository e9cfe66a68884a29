"""API keys as the front door shows them: made, looked up, revoked, and recognised when one is presented."""

from __future__ import annotations

import logging
import secrets
import string
from collections.abc import Callable, Sequence
from typing import Any, Final

import trio
from attrs import evolve, field, frozen

from aq.actors.claims import Answered, Claims
from aq.actors.committer import Committer, Write
from aq.actors.messages import Reply
from aq.actors.outbox import not_accepted
from aq.actors.patience import patiently
from aq.apikey import PREFIXES, ApiKey, NewKey, Scope, hash_key
from aq.claiming import Claiming
from aq.clock import ServiceClock
from aq.errors import ConflictError, NotFoundError, UnavailableError
from aq.ids import IdMinter
from aq.storage.answers import Answer, Refused
from aq.storage.changes import Change, PutKey, PutSetting
from aq.storage.protocol import Storage
from aq.task import Environment

MAX_KEYS: Final = 10_000
"""Keys that may be valid at once."""
_ALPHABET: Final = string.ascii_letters + string.digits
_ID_PREFIX: Final = "key_"
_LEGACY_SETTING: Final = "api_key"
"""Where version 0.1 kept the hash of its one key."""
logger = logging.getLogger(__name__)


def new_key(environment: Environment = Environment.LIVE) -> str:
    """``aq_live_`` or ``aq_test_`` and 43 random characters (256 bits)."""
    return PREFIXES[environment] + "".join(secrets.choice(_ALPHABET) for _ in range(43))


@frozen(kw_only=True, eq=False)
class Grant:
    """What a valid key lets its bearer do. One object for as long as the key is valid."""

    key_id: str
    environment: Environment
    scopes: tuple[Scope, ...]
    queues: tuple[str, ...] | None = None
    rate_limit_per_minute: int | None = None
    revoked: trio.Event = field(factory=trio.Event, init=False, repr=False)
    """Set in the moment in which the key stops being valid."""

    def allows_queue(self, name: str) -> bool:
        """Whether the key may see and use a queue of its environment."""
        return self.queues is None or name in self.queues

    @classmethod
    def of(cls, key: ApiKey) -> Grant:
        return cls(
            key_id=key.id,
            environment=key.environment,
            scopes=key.scopes,
            queues=key.queues,
            rate_limit_per_minute=key.rate_limit_per_minute,
        )


class Keyring:
    """``engine.keys``. Every key that is kept, in memory and in the storage, by id and by hash.

    What is asked is answered from memory; what changes is durable first and holds in memory in the moment in
    which it is known to be. `load` comes before everything else.
    """

    def __init__(
        self,
        storage: Storage,
        committer: Committer,
        clock: ServiceClock,
        minter: IdMinter,
        claims: Claims,
        refuse_if_unwritable: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._committer = committer
        self._clock = clock
        self._minter = minter
        self._claims = claims
        self._refuse_if_unwritable = refuse_if_unwritable
        self._keys: dict[str, ApiKey] = {}
        self._grants: dict[str, Grant] = {}
        """Of the stored keys that are valid, by hash."""
        self._operators: dict[str, Grant] = {}
        """Of the keys that are not stored, by hash."""
        self._leaving: list[str] = []
        """The ids that a revocation is on its way to disk for, once for each."""

    async def load(self) -> None:
        """Read what is stored. A key that an older version kept becomes one with every scope."""
        for key in await patiently(self._storage.api_keys):
            self._hold(key)
        digest = (await patiently(self._storage.settings)).get(_LEGACY_SETTING)
        if digest:
            await self._take_over(digest)

    def add_operator_key(self, text: str) -> Grant:
        """Let a key do everything, for as long as this engine runs; it is not stored and not listed."""
        return self._operate(hash_key(text))

    async def first_key(self) -> str | None:
        """Where no key can manage keys, one with every scope is made: its text, to be shown this once."""
        if self._operators or self._admins():
            return None
        _, text = await self.create("first key", scopes=tuple(Scope))
        return text

    def accept(self, text: str) -> Grant | None:
        """What a presented key may do; None when it is not valid.

        Constant time: a key is looked up by its SHA-256. What a look-up's time could tell is how the hash of
        what the caller sent compares with stored hashes, and a caller who cannot choose a hash bit by bit
        learns nothing of a key from that.
        """
        digest = hash_key(text)
        return self._operators.get(digest) or self._grants.get(digest)

    async def create(
        self,
        name: str,
        *,
        environment: str = Environment.LIVE,
        scopes: Sequence[str] = (Scope.READ, Scope.WRITE),
        queues: Sequence[str] | None = None,
        rate_limit_per_minute: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key, durable when this returns; the second value is its text, which is kept nowhere.

        Raises ValidationError naming every wrong field; ConflictError when there are `MAX_KEYS`.
        """
        new = NewKey(
            name=name,
            environment=environment,
            scopes=scopes,
            queues=queues,
            rate_limit_per_minute=rate_limit_per_minute,
        )
        return await self._create(new, new_key(Environment(new.environment)), None)

    async def make(
        self, new: NewKey, *, asking: Environment = Environment.LIVE, idempotency_key: str | None = None
    ) -> Answered[tuple[ApiKey, str | None]]:
        """As `create`; the text of a key that an earlier request got is None, for it is kept nowhere.

        ``asking`` is the environment in which the idempotency key is remembered.
        """
        claiming = self._claims.claiming(asking, idempotency_key, "key", new)
        text = new_key(Environment(new.environment))
        done: Answered[Any] = await self._claims.once(
            claiming, ApiKey, lambda: self._create(new, text, claiming)
        )
        return Answered((done.value, None), replayed=True) if done.replayed else done

    async def _create(self, new: NewKey, text: str, claiming: Claiming | None) -> tuple[ApiKey, str]:
        self._refuse_if_unwritable()
        if len(self._grants) >= MAX_KEYS:
            raise ConflictError(f"there are {MAX_KEYS:,} keys: revoke some that nobody uses")
        key = self._made(new, hash_key(text))
        claim = [] if claiming is None else [claiming.of(key)]
        await self._put([*claim, PutKey(key)], key)
        return key, text

    async def revoke(self, key_id: str) -> None:
        """From when this returns the key is not valid, also after a restart; again it changes nothing.

        Raises NotFoundError; ConflictError for the last key that can manage keys, unless an operator's key
        is in force.
        """
        key = self.get(key_id)
        if key.revoked_at is not None:
            return
        self._refuse_if_unwritable()
        if not self._operators and self._admins() == [key_id]:
            raise ConflictError(
                "this is the last key that can manage keys: make another one first, or set AQ_API_KEY"
            )
        self._leaving.append(key_id)
        revoked = evolve(key, revoked_at=self._clock.now())
        await self._put([PutKey(revoked)], revoked, lambda: self._leaving.remove(key_id))

    def list(self, environment: Environment | None = None) -> Sequence[ApiKey]:
        """Every stored key, revoked ones too, by id, of one environment or of all."""
        keys = sorted(self._keys.values(), key=lambda key: key.id)
        return [key for key in keys if environment in (None, key.environment)]

    def get(self, key_id: str) -> ApiKey:
        """One stored key, revoked or not. Raises NotFoundError."""
        key = self._keys.get(key_id)
        if key is None:
            raise NotFoundError(f"there is no API key {key_id}")
        return key

    # -- within ---------------------------------------------------------------------------------------------
    def _admins(self) -> Sequence[str]:
        """The ids of the keys that can manage every key, without those about to go."""
        return [
            key.id
            for key in self._keys.values()
            if key.revoked_at is None
            and key.environment is Environment.LIVE
            and Scope.ADMIN in key.scopes
            and key.queues is None
            and key.id not in self._leaving
        ]

    def _made(self, new: NewKey, digest: str) -> ApiKey:
        now = self._clock.now()
        return ApiKey(
            id=self._minter.mint(now, _ID_PREFIX),
            name=new.name,
            environment=Environment(new.environment),
            hash=digest,
            scopes=new.scopes,
            queues=new.queues,
            rate_limit_per_minute=new.rate_limit_per_minute,
            created_at=now,
        )

    def _operate(self, digest: str) -> Grant:
        grant = Grant(key_id="operator", environment=Environment.LIVE, scopes=tuple(Scope))
        self._operators[digest] = grant
        return grant

    async def _take_over(self, digest: str) -> None:
        """On a storage that takes no writes for now it is as an operator's, and taken over another time."""
        key = self._made(NewKey(name="first key", scopes=tuple(Scope)), digest)
        try:
            await self._put([PutKey(key), PutSetting(_LEGACY_SETTING, "")], key)
        except UnavailableError as error:
            logger.warning("the API key of an older version is not taken over yet: %s", error)
            self._operate(digest)

    async def _put(
        self, unit: Sequence[Change], key: ApiKey, settled: Callable[[], object] = lambda: None
    ) -> None:
        """Durable, and in memory in the same moment: also when whoever asked has been cancelled meanwhile."""
        reply = Reply[None]()

        def settle(answer: Answer | Exception) -> None:
            settled()
            if isinstance(answer, Exception):
                reply.fail(answer)
            elif isinstance(answer, Refused):
                reply.fail(not_accepted(answer))
            else:
                self._hold(key)
                reply.set(None)

        try:
            await self._committer.write(Write(unit, settle))
        except BaseException:
            settled()
            raise
        await reply.wait()

    def _hold(self, key: ApiKey) -> None:
        """The key as it is now, in memory."""
        self._keys[key.id] = key
        if key.revoked_at is None:
            self._grants[key.hash] = Grant.of(key)
        elif (grant := self._grants.pop(key.hash, None)) is not None:
            grant.revoked.set()
