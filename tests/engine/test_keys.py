"""The keyring of an engine: what is made, what is kept of it, and when it stops being valid."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import aq.keys
from aq.actors.committer import Committer
from aq.actors.patience import PAUSE
from aq.apikey import ApiKey, Scope, check_key, hash_key
from aq.delivery.protocol import Delivery
from aq.engine import Engine
from aq.errors import (
    ConflictError,
    DrainingError,
    NotFoundError,
    StorageCorruptError,
    StorageFullError,
    ValidationError,
)
from aq.instants import SECOND
from aq.keys import new_key
from aq.opening import open_engine
from aq.outcome import Outcome
from aq.storage import open_storage
from aq.storage.changes import PutSetting, Unit
from aq.storage.protocol import Storage
from aq.task import Environment
from tests.engine.storages import Faulty

EVERY = (Scope.READ, Scope.WRITE, Scope.ADMIN)


async def succeed(delivery: Delivery) -> Outcome:
    return Outcome.success()


@asynccontextmanager
async def engine_on(storage: str | Storage = "memory:") -> AsyncIterator[Engine]:
    async with open_engine(storage, runner=succeed) as engine:
        yield engine


@asynccontextmanager
async def faulty_engine() -> AsyncIterator[tuple[Engine, Faulty]]:
    async with open_storage("memory:") as storage:
        faulty = Faulty(storage)
        async with engine_on(faulty) as engine:
            yield engine, faulty


async def admin(engine: Engine, **fields: Any) -> ApiKey:
    key, _ = await engine.keys.create("admin", **{"scopes": EVERY, **fields})
    return key


def failing(error: Exception) -> Callable[[Sequence[Unit]], None]:
    def fail(units: Sequence[Unit]) -> None:
        raise error

    return fail


# -- made ---------------------------------------------------------------------------------------------------
async def test_a_key_is_made_with_defaults() -> None:
    async with engine_on() as engine:
        key, text = await engine.keys.create("ci")
        assert re.fullmatch(r"aq_live_[A-Za-z0-9]{43}", text)
        assert re.fullmatch(r"key_[0-9A-HJKMNP-TV-Z]{26}", key.id)
        assert (key.name, key.environment, key.scopes) == ("ci", Environment.LIVE, (Scope.READ, Scope.WRITE))
        assert (key.queues, key.rate_limit_per_minute, key.revoked_at) == (None, None, None)
        assert 0 <= engine.clock.now() - key.created_at < 10 * SECOND
        assert engine.keys.get(key.id) == key


async def test_a_key_is_made_with_every_field_and_grants_just_that() -> None:
    async with engine_on() as engine:
        key, text = await engine.keys.create(
            "ci", environment="test", scopes=["read", "read"], queues=["a", "b"], rate_limit_per_minute=5
        )
        assert text.startswith("aq_test_")
        grant = engine.keys.accept(text)
        assert grant is not None
        assert (grant.key_id, grant.environment, grant.scopes) == (key.id, Environment.TEST, (Scope.READ,))
        assert (grant.queues, grant.rate_limit_per_minute) == (("a", "b"), 5)
        assert [grant.allows_queue(name) for name in ("a", "b", "c")] == [True, True, False]
        assert not grant.revoked.is_set()


async def test_a_key_without_a_list_is_for_every_queue() -> None:
    async with engine_on() as engine:
        _, text = await engine.keys.create("all")
        grant = engine.keys.accept(text)
        assert grant is not None
        assert grant.allows_queue("whatever")


WRONG: list[tuple[str, Any]] = [
    ("name", ""),
    ("name", "x" * 101),
    ("name", "a\nb"),
    ("name", None),
    ("environment", "prod"),
    ("environment", "callback"),
    ("environment", None),
    ("scopes", []),
    ("scopes", ["root"]),
    ("scopes", "read"),
    ("scopes", None),
    ("queues", []),
    ("queues", ["a b"]),
    ("queues", "a"),
    ("queues", [f"q{number}" for number in range(101)]),
    ("rate_limit_per_minute", 0),
    ("rate_limit_per_minute", 1_000_001),
    ("rate_limit_per_minute", True),
    ("rate_limit_per_minute", "5"),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
async def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    async with engine_on() as engine:
        with pytest.raises(ValidationError) as caught:
            await engine.keys.create(**{"name": "n", field: value})
        assert [wrong.field for wrong in caught.value.errors] == [field]
        assert engine.keys.list() == []


async def test_the_edges_are_in() -> None:
    async with engine_on() as engine:
        await engine.keys.create("é" * 100, rate_limit_per_minute=1)
        await engine.keys.create("x", rate_limit_per_minute=1_000_000, queues=["q" * 128])


def test_a_made_key_cannot_be_guessed() -> None:
    assert len({new_key() for _ in range(1_000)}) == 1_000
    secret = new_key().removeprefix("aq_live_")
    seen = set("".join(new_key().removeprefix("aq_live_") for _ in range(1_000)))
    assert len(secret) * math.log2(len(seen)) > 190


@pytest.mark.parametrize(
    "key", ["aq_live_" + "x" * 31, "aq_test_" + "x" * 40, "x" * 40, "aq_live_" + "x" * 40 + "\n", ""]
)
def test_an_operators_key_must_be_long(key: str) -> None:
    with pytest.raises(ValueError, match="at least 32") as caught:
        check_key(key)
    assert not key or key not in str(caught.value)
    assert check_key("aq_live_" + "!" * 32)


async def test_there_is_a_bound_and_revoking_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aq.keys, "MAX_KEYS", 2)
    async with engine_on() as engine:
        key, _ = await engine.keys.create("1")
        await engine.keys.create("2")
        with pytest.raises(ConflictError):
            await engine.keys.create("3")
        await engine.keys.revoke(key.id)
        await engine.keys.create("3")


# -- recognised ---------------------------------------------------------------------------------------------
async def test_only_the_very_text_is_accepted() -> None:
    async with engine_on() as engine:
        key, text = await engine.keys.create("n")
        for other in (
            text[:-1],
            text + "x",
            text.swapcase(),
            key.hash,
            key.id,
            "",
            "é",
            "\ud800",
            " " + text,
        ):
            assert engine.keys.accept(other) is None
        assert engine.keys.accept(text) is engine.keys.accept(text) is not None


async def test_a_text_is_nowhere_but_in_its_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_storage("memory:") as storage:
        async with engine_on(storage) as engine:
            key, text = await engine.keys.create("n")
            operator = new_key()
            engine.keys.add_operator_key(operator)
            ring = vars(engine.keys)
            held = repr((ring, [key, *engine.keys.list()], engine.keys.accept(text), vars(engine)))
            await engine.keys.revoke(key.id)
        kept = [(kept.hash, repr(kept), kept.id, kept.name) for kept in await storage.api_keys()]
        everything = repr(kept) + repr(await storage.settings()) + held + caplog.text
        for secret in (text, operator):
            assert secret.partition("_live_")[2] not in everything
        assert key.hash == hashlib.sha256(text.encode()).hexdigest()
        assert key.hash not in repr(key)


# -- durable ------------------------------------------------------------------------------------------------
async def test_keys_outlive_the_engine() -> None:
    async with open_storage("memory:") as storage:
        async with engine_on(storage) as engine:
            key, text = await engine.keys.create("n", queues=["q"], rate_limit_per_minute=7)
            gone, revoked = await engine.keys.create("m", environment="test")
            await engine.keys.revoke(gone.id)
            known = engine.keys.list()
        assert list(await storage.api_keys()) == known
        async with engine_on(storage) as engine:
            assert engine.keys.list() == known
            grant = engine.keys.accept(text)
            assert grant is not None
            assert (grant.key_id, grant.queues, grant.rate_limit_per_minute) == (key.id, ("q",), 7)
            assert engine.keys.accept(revoked) is None


async def during_a_commit(engine: Engine, faulty: Faulty, change: Awaitable[object]) -> None:
    """The change has happened nowhere while its commit waits, then in both places."""
    go = trio.Event()
    faulty.before_commit = lambda units: go.wait()
    before = engine.keys.list()
    done: list[bool] = []

    async def ask() -> None:
        await change
        done.append(list(await faulty.storage.api_keys()) == engine.keys.list())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert (engine.keys.list(), done) == (before, [])
        go.set()
    assert done == [True]
    assert engine.keys.list() != before
    faulty.before_commit = lambda units: None


async def test_a_change_is_durable_before_it_is_answered_and_holds() -> None:
    async with faulty_engine() as (engine, faulty):
        await during_a_commit(engine, faulty, engine.keys.create("n"))
        [key] = engine.keys.list()
        await during_a_commit(engine, faulty, engine.keys.revoke(key.id))


async def test_a_change_that_was_not_written_is_told_and_does_not_hold() -> None:
    async with faulty_engine() as (engine, faulty):
        key, text = await engine.keys.create("n")
        faulty.before_commit = failing(StorageFullError("no space"))
        for change in (engine.keys.revoke(key.id), engine.keys.create("m")):
            with trio.fail_after(5), pytest.raises(StorageFullError):
                await change
        assert engine.keys.list() == [key]
        assert engine.keys.accept(text) is not None
        faulty.before_commit = lambda units: None


async def test_a_revocation_holds_although_its_caller_has_gone() -> None:
    async with faulty_engine() as (engine, faulty):
        key, text = await engine.keys.create("n")
        go = trio.Event()
        faulty.before_commit = lambda units: go.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.keys.revoke, key.id)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert engine.keys.accept(text) is None


async def test_no_key_changes_while_the_engine_drains() -> None:
    async with engine_on() as engine:
        key, text = await engine.keys.create("n")
        engine.begin_drain()
        with pytest.raises(DrainingError):
            await engine.keys.create("m")
        with pytest.raises(DrainingError):
            await engine.keys.revoke(key.id)
        assert engine.keys.accept(text) is not None


# -- revoked ------------------------------------------------------------------------------------------------
async def test_revocation_holds_at_once_and_wakes_whoever_listens() -> None:
    async with engine_on() as engine:
        key, text = await engine.keys.create("n")
        _, other = await engine.keys.create("m")
        grant = engine.keys.accept(text)
        assert grant is not None
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(grant.revoked.wait)
                await engine.keys.revoke(key.id)
        assert engine.keys.accept(text) is None
        assert engine.keys.accept(other) is not None
        revoked_at = engine.keys.get(key.id).revoked_at
        assert revoked_at is not None
        await engine.keys.revoke(key.id)
        assert engine.keys.get(key.id).revoked_at == revoked_at
        with pytest.raises(NotFoundError):
            await engine.keys.revoke("key_none")
        with pytest.raises(NotFoundError):
            engine.keys.get("key_none")


async def test_keys_are_listed_by_id_of_one_environment_or_of_all() -> None:
    async with engine_on() as engine:
        names = ("live", "test", "test", "live")
        made = [(await engine.keys.create("n", environment=name))[0] for name in names]
        assert engine.keys.list() == made
        assert engine.keys.list(Environment.LIVE) == [made[0], made[3]]
        assert engine.keys.list(Environment.TEST) == [made[1], made[2]]


# -- the last one that manages keys -------------------------------------------------------------------------
NO_ADMINS: list[dict[str, Any]] = [
    {"scopes": ["read", "write"]},
    {"environment": "test"},
    {"queues": ["q"]},
]


@pytest.mark.parametrize("fields", NO_ADMINS)
async def test_the_last_admin_key_cannot_be_revoked(fields: dict[str, Any]) -> None:
    async with engine_on() as engine:
        last = await admin(engine)
        other = await admin(engine, **fields)
        gone = await admin(engine)
        await engine.keys.revoke(gone.id)
        with pytest.raises(ConflictError):
            await engine.keys.revoke(last.id)
        await engine.keys.revoke(other.id)
        assert engine.keys.get(last.id).revoked_at is None
        await admin(engine)
        await engine.keys.revoke(last.id)


async def test_while_an_operators_key_is_in_force_the_last_one_may_go() -> None:
    async with engine_on() as engine:
        last = await admin(engine)
        engine.keys.add_operator_key(new_key())
        await engine.keys.revoke(last.id)


async def test_of_the_last_two_one_stays_whoever_asks_at_once_and_whoever_goes() -> None:
    async with faulty_engine() as (engine, faulty):
        both = [await admin(engine), await admin(engine)]
        go = trio.Event()
        faulty.before_commit = lambda units: go.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.keys.revoke, both[0].id)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        with trio.fail_after(5), pytest.raises(ConflictError):
            await engine.keys.revoke(both[1].id)
        go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert [engine.keys.get(key.id).revoked_at is None for key in both] == [False, True]


async def test_a_revocation_that_failed_leaves_the_other_one_free_to_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with faulty_engine() as (engine, faulty):
        both = [await admin(engine), await admin(engine)]
        faulty.before_commit = failing(StorageFullError("no space"))
        with pytest.raises(StorageFullError):
            await engine.keys.revoke(both[0].id)
        faulty.before_commit = lambda units: None
        await trio.sleep(2 * PAUSE)  # by then the committer has found that there is space
        await engine.keys.revoke(both[1].id)
        with pytest.raises(ConflictError):
            await engine.keys.revoke(both[0].id)


async def test_a_revocation_that_was_not_sent_leaves_the_other_one_free_to_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(write: object) -> None:
        raise DrainingError

    async with engine_on() as engine:
        both = [await admin(engine), await admin(engine)]
        with monkeypatch.context() as patch:
            patch.setattr(Committer, "write", lambda self, write: refuse(write))
            with pytest.raises(DrainingError):
                await engine.keys.revoke(both[0].id)
        await engine.keys.revoke(both[1].id)


@pytest.mark.parametrize("fields", NO_ADMINS)
async def test_a_first_key_is_made_where_nobody_could_manage_keys(fields: dict[str, Any]) -> None:
    async with engine_on() as engine:
        await admin(engine, **fields)
        text = await engine.keys.first_key()
        assert text is not None
        grant = engine.keys.accept(text)
        assert grant is not None
        assert (grant.environment, grant.scopes, grant.queues) == (Environment.LIVE, EVERY, None)
        assert await engine.keys.first_key() is None
        assert len(engine.keys.list()) == 2


# -- keys that are not stored -------------------------------------------------------------------------------
async def test_an_operators_key_does_everything_and_is_kept_nowhere() -> None:
    async with open_storage("memory:") as storage:
        async with engine_on(storage) as engine:
            text = new_key()
            engine.keys.add_operator_key(text)
            grant = engine.keys.accept(text)
            assert grant is not None
            assert (grant.environment, grant.scopes, grant.queues) == (Environment.LIVE, EVERY, None)
            assert grant.rate_limit_per_minute is None
            assert engine.keys.list() == []
            assert await engine.keys.first_key() is None
        assert list(await storage.api_keys()) == []
        async with engine_on(storage) as engine:
            assert engine.keys.accept(text) is None


# -- the key of an older version ----------------------------------------------------------------------------
@asynccontextmanager
async def older_storage() -> AsyncIterator[tuple[Storage, str]]:
    text = new_key()
    async with open_storage("memory:") as storage:
        settings = {"api_key": hash_key(text), "signing_secret": "whsec_" + "c2VjcmV0" * 6}
        await storage.commit([[PutSetting(name, value) for name, value in settings.items()]], 1)
        yield storage, text


async def test_the_key_of_an_older_version_is_taken_over_once() -> None:
    async with older_storage() as (storage, text):
        for _ in range(2):
            async with engine_on(storage) as engine:
                [key] = engine.keys.list()
                assert (key.environment, key.scopes, key.queues) == (Environment.LIVE, EVERY, None)
                grant = engine.keys.accept(text)
                assert grant is not None
                assert grant.key_id == key.id
                assert await engine.keys.first_key() is None
        assert not (await storage.settings())["api_key"]
        assert list(await storage.api_keys()) == [key]


async def test_taken_over_it_can_be_revoked_for_good() -> None:
    async with older_storage() as (storage, text):
        async with engine_on(storage) as engine:
            await admin(engine)
            await engine.keys.revoke(engine.keys.list()[0].id)
        async with engine_on(storage) as engine:
            assert engine.keys.accept(text) is None


@pytest.mark.parametrize("error", [StorageFullError("no space"), StorageCorruptError("it is damaged")])
async def test_on_a_storage_that_takes_no_writes_it_is_valid_too(error: Exception) -> None:
    async with older_storage() as (storage, text):
        faulty = Faulty(storage)
        faulty.before_commit = failing(error)
        async with engine_on(faulty) as engine:
            assert engine.keys.accept(text) is not None
            assert await engine.keys.first_key() is None
            faulty.before_commit = lambda units: None
        async with engine_on(storage) as engine:
            assert engine.keys.accept(text) is not None
            assert len(engine.keys.list()) == 1
