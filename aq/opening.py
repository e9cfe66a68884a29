"""Opening an engine: its storage, its actors, and the order in which they begin and end.

async with open_engine(storage="sqlite:///aq.db") as engine:
    task = await engine.submit(NewTask("emails", "https://example.com/hook", {"to": "ada"}))
    done = await engine.wait(task.id)
"""

from __future__ import annotations

import secrets as token
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from random import Random, SystemRandom
from typing import Final

import trio

from aq.actors.capacity import Capacity
from aq.actors.committer import Committer
from aq.actors.feed import Feed
from aq.actors.holds import Holds
from aq.actors.janitor import Janitor
from aq.actors.meter import Meter
from aq.actors.patience import patiently
from aq.actors.policies import Policies
from aq.actors.root import Root
from aq.actors.runner import run_attempt
from aq.actors.services import Services, Sizes
from aq.actors.tracing import Tracer
from aq.actors.waiters import Waiters
from aq.clock import ServiceClock
from aq.delivery.protocol import Runner, Transport
from aq.delivery.signing import Secret, new_secret, parse_secrets
from aq.delivery.webhook import open_webhook_runner
from aq.engine import Engine
from aq.errors import DrainingError
from aq.ids import IdMinter
from aq.instants import from_seconds
from aq.storage import open_storage
from aq.storage.changes import PutSetting
from aq.storage.protocol import Storage
from aq.storage.watched import watched
from aq.totals import Totals

FLUSH_SECONDS: Final = 5
"""How long the last writes may take when an engine closes. A full disk takes them never."""
_SECRET: Final = "signing_secret"  # noqa: S105  # the name of a setting


@asynccontextmanager
async def open_engine(
    storage: str | Storage = "memory:",
    *,
    runner: Runner | None = None,
    transport: Transport | None = None,
    allow: Sequence[str] = (),
    signing_secrets: str | None = None,
    max_attempts: int = 1_000,
    grace: float = 8.0,
    sizes: Sizes | None = None,
    random: Random | None = None,
    wall: Callable[[], float] = time.time,
    tracer: Tracer | None = None,
) -> AsyncIterator[Engine]:
    """Open a storage, recover what it holds, and run its queues until the block is left.

    ``storage`` is ``memory:``, ``sqlite:///PATH`` or a storage that is open already. ``runner`` is any
    ``async (Delivery) -> Outcome``; without one, tasks are delivered as signed webhooks, over ``transport``
    if given, to public addresses and the networks in ``allow`` (CIDR). ``signing_secrets`` are ``whsec_…``,
    comma-separated; without them the storage's own are used, made at the first opening. ``max_attempts``
    may be in flight over all queues. Leaving the block waits at most ``grace`` seconds for them; one cut
    short is recorded ``unknown`` and repeated after the next opening. ``random`` and ``wall`` (Unix
    seconds) can be given to make a run repeatable. ``tracer`` makes spans (`aq.telemetry.tracing`).

    Raises ValidationError, ValueError or TypeError for what cannot be meant, StorageError when the storage
    cannot be opened, and from the block when it fails for good.
    """
    _check(runner, allow, max_attempts)
    random = random or SystemRandom()
    totals = Totals()
    async with _opened(storage) as opened, _unwrapped(), trio.open_nursery() as committing:
        store = watched(opened, totals.storage)
        floor = await patiently(store.floor)
        clock = ServiceClock(wall=wall, floor=floor.now)
        committer = Committer(store, clock)
        committing.start_soon(committer.run)
        secrets = parse_secrets(signing_secrets or await _stored_secret(store, committer))
        async with _runner(runner, secrets, allow, wall, transport) as run:
            services = Services(
                storage=store,
                committer=committer,
                clock=clock,
                minter=IdMinter(random.getrandbits, floor.sequence),
                random=random,
                runner=run,
                capacity=Capacity(max_attempts),
                waiters=Waiters(),
                feed=Feed(f"{random.getrandbits(40):010x}"),
                meter=Meter(),
                totals=totals,
                holds=Holds(),
                policies=Policies(store),
                sizes=sizes or Sizes(),
                attempt=run_attempt if tracer is None else tracer.attempt,
            )
            async with _living(services, secrets, grace, tracer) as engine:
                yield engine
        committing.cancel_scope.cancel()


@asynccontextmanager
async def _living(
    services: Services, secrets: Sequence[Secret], grace: float, tracer: Tracer | None
) -> AsyncIterator[Engine]:
    """The actors of an engine beside the committer, which outlives them."""
    async with trio.open_nursery() as nursery:
        root = Root(services)
        engine = Engine(services, root, secrets, tracer)
        await engine.keys.load()
        await nursery.start(root.run)
        nursery.start_soon(Janitor(services).run)
        await nursery.start(engine.scheduler.run)
        try:
            yield engine
            await engine.drain(grace)
        except Exception:
            await engine.close(FLUSH_SECONDS)
            raise
        await engine.close(FLUSH_SECONDS)
        nursery.cancel_scope.cancel()


def _check(runner: Runner | None, allow: Sequence[str], max_attempts: int) -> None:
    """Slips that would show late or in odd ways."""
    if max_attempts < 1:
        raise ValueError("max_attempts must be at least 1")
    if isinstance(allow, str):
        raise TypeError("allow is a list of networks, for example ['10.0.0.0/8']")
    if not (runner is None or callable(runner)):
        raise TypeError("a runner is an async function that takes a Delivery and returns an Outcome")


def _opened(storage: str | Storage) -> AbstractAsyncContextManager[Storage]:
    """A storage that was handed in stays open when the engine closes."""
    return open_storage(storage) if isinstance(storage, str) else nullcontext(storage)


def _runner(
    runner: Runner | None,
    secrets: Sequence[Secret],
    allow: Sequence[str],
    wall: Callable[[], float],
    transport: Transport | None,
) -> AbstractAsyncContextManager[Runner]:
    """Signatures carry the wall clock's time: a receiver checks them by its own."""
    if runner is not None:
        return nullcontext(runner)
    return open_webhook_runner(
        secrets=secrets, allow=allow, now=lambda: from_seconds(wall()), transport=transport
    )


async def _stored_secret(storage: Storage, committer: Committer) -> str:
    """The storage's own signing secret, made the first time it is asked for."""
    secret = (await patiently(storage.settings)).get(_SECRET)
    if secret is None:
        secret = str(new_secret(token.token_bytes))
        await committer.commit([PutSetting(_SECRET, secret)])
    return secret


@asynccontextmanager
async def _unwrapped() -> AsyncIterator[None]:
    """An error that left the nurseries alone is raised as itself, not in a group of one.

    A DrainingError beside others is of somebody whom the end took by surprise, and explains nothing.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group.split(DrainingError)[1] or group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
