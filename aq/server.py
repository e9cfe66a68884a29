"""``aq serve``: the engine, its HTTP face, and the order in which both begin and end."""

from __future__ import annotations

import errno
import gc
import logging
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, nullcontext
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import trio
from attrs import field, frozen
from quart_trio import QuartTrio

from aq.actors.tracing import Tracer
from aq.api.app import create_app
from aq.api.front import MAX_CONNECTIONS, open_front, open_listeners
from aq.api.lane import Lane
from aq.api.limits import RateLimits
from aq.api.metrics import create_metrics_app
from aq.api.tls import server_context
from aq.clock import ServiceClock
from aq.dashboard import Dashboard
from aq.dashboard.door import new_once
from aq.engine import Engine
from aq.errors import AsyncQueueError
from aq.greeting import Greeting
from aq.keys import new_key
from aq.opening import open_engine
from aq.telemetry.traffic import Traffic, watch_loop

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_SPARE_FILES: Final = 200
"""Open files that no attempt may take."""
_SPAN_SECONDS: Final = 2
"""At the end, spans that are left have at most so long to go out."""
_SCRAPERS: Final = 20
"""Connections to the port of the metrics."""
_STEP_SECONDS: Final = 1
logger = logging.getLogger(__name__)


class BindError(AsyncQueueError):
    """The address cannot be listened on: taken, or not one of this machine."""


@frozen(kw_only=True)
class Settings:
    """What ``aq serve`` was told. ``grace`` is in seconds; secrets are in no repr."""

    host: str = "127.0.0.1"
    port: int = 8080
    storage: str = "sqlite:///aq.db"
    dev: bool = False
    allow: tuple[str, ...] = ()
    grace: float = 8
    max_attempts: int = 1_000
    lane: bool = True
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    """None: they are served beside the API."""
    otel: bool = False
    api_key: str | None = field(default=None, repr=False)
    signing_secret: str | None = field(default=None, repr=False)
    tls_cert: str | None = None
    tls_key: str | None = None
    """Files in PEM; without a certificate clients speak plain HTTP."""
    dev_file: Path | None = None
    """Where the command finds a ``dev`` server; see `aq.devfile`."""


async def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT, then end in good order; a second signal ends the process at once.

    In good order: new work is refused (503, and by ``/readyz``) with the listeners still open; nothing more
    is started; running attempts get ``grace`` seconds; then connections and storage are closed. ``say`` gets
    the few lines that a person needs, once all is ready. Raises BindError when it cannot listen there,
    StorageError when the storage cannot be opened or fails for good.
    """
    attempts, connections = share_files(_open_files_limit(), settings.max_attempts)
    tls = None if settings.tls_cert is None else server_context(settings.tls_cert, settings.tls_key)
    listeners = await _bind(settings.host, settings.port)
    apart = None
    if settings.metrics_port is not None:
        apart = await _bind(settings.metrics_host, settings.metrics_port, "--metrics-port")
    with _signals() as told:
        async with (
            _traced(settings) as tracer,
            open_engine(
                settings.storage,
                allow=(*settings.allow, *(LOOPBACK if settings.dev else ())),
                signing_secrets=settings.signing_secret,
                max_attempts=attempts,
                grace=0,  # by then they had it, with the listeners open
                tracer=tracer,
            ) as engine,
        ):
            made = await _first_key(engine, settings)
            limits, traffic = RateLimits(engine.clock), Traffic()
            app = create_app(engine, limits=limits, traffic=traffic, metrics=apart is None, dev=settings.dev)
            once = _put_dashboard(app, engine, limits, settings, made)
            lane = Lane(engine, limits, traffic) if settings.lane else None
            async with AsyncExitStack() as open_doors:
                front = open_front(
                    app, listeners, lane=lane, traffic=traffic, max_connections=connections, tls=tls
                )
                await open_doors.enter_async_context(front)
                if apart is not None:
                    metrics = create_metrics_app(engine, traffic)
                    await open_doors.enter_async_context(
                        open_front(metrics, apart, max_connections=_SCRAPERS)
                    )
                url = _url(listeners, "http" if tls is None else "https")
                greeting = Greeting(url=url, storage=settings.storage, dev=settings.dev, key=made)
                entry = f"signin/{once}  (signs in once)" if once else ""
                greeting.rows.append(("Dashboard", f"{url}/{entry}"))
                if apart is not None:
                    greeting.rows.append(("Metrics", f"{_url(apart)}/metrics"))
                secrets = None if settings.signing_secret else engine.signing_secrets
                with greeting.left_at(settings.dev_file, secrets):
                    say(str(greeting))
                    await _run(engine, traffic, told, settings.grace)


async def _bind(host: str, port: int, option: str = "--port") -> Sequence[trio.SocketListener]:
    """Raises BindError; the option is what it says to change where somebody else has the port."""
    try:
        return await open_listeners(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            variable = "AQ_" + option.removeprefix("--").replace("-", "_").upper()
            reason += f"; is another aq running? {option} or {variable} takes another port"
        raise BindError(f"cannot listen on {host}:{port}: {reason}") from None


def _traced(settings: Settings) -> AbstractAsyncContextManager[Tracer | None]:
    if not settings.otel:
        return nullcontext()
    from aq.telemetry.export import open_exporter

    return open_exporter(min(settings.grace, _SPAN_SECONDS))


async def _run(engine: Engine, traffic: Traffic, told: trio.Event, grace: float) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_wall_clock, engine.clock)
        nursery.start_soon(watch_loop, traffic)
        await told.wait()
        engine.begin_drain()
        logger.info("taking no more work, finishing what runs")
        await engine.drain(grace)
        engine.dismiss()
        nursery.cancel_scope.cancel()


@contextmanager
def _signals() -> Iterator[trio.Event]:
    """An event that the first SIGTERM or SIGINT sets; the second ends the process, whatever it is doing.

    So it does while the store is opened and while all is closed. What was acknowledged is on disk; an attempt
    cut short is repeated later.
    """
    told, token = trio.Event(), trio.lowlevel.current_trio_token()
    heard: list[int] = []

    def tell(number: int) -> None:
        logger.info("%s: ending in good order", signal.Signals(number).name)
        told.set()

    def hear(number: int, frame: object) -> None:
        heard.append(number)
        if len(heard) > 1:  # no logging here: what it would interrupt may be logging
            os.write(2, b"second signal: ending at once\n")
            os._exit(1)
        token.run_sync_soon(tell, number)

    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def collect_seldom() -> None:
    """For a process that does nothing but serve: look for garbage in cycles now and then.

    Python looks after every 700 new objects, and walks all that lives after some thousands of times that: a
    twelfth of the time of a drain. Requests and attempts leave next to nothing in cycles.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def watch_wall_clock(clock: ServiceClock) -> None:
    """Log once for each step of the wall clock by over a second; what is due does not follow it."""
    told = 0.0
    while True:
        await trio.sleep(_STEP_SECONDS)
        offset = clock.wall_offset()
        if abs(offset - told) > _STEP_SECONDS:
            told = offset
            logger.warning(
                "the wall clock is %+.1f s off the service clock; due times do not follow it", offset
            )


class BootClock(trio.abc.Clock):
    """Trio's clock on a clock that also counts while the machine is suspended, where there is one."""

    _id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def start_clock(self) -> None:
        """It is running."""

    def current_time(self) -> float:
        return time.clock_gettime(self._id)

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self.current_time()


async def _first_key(engine: Engine, settings: Settings) -> str | None:
    """See that somebody can manage keys; the key made for that just now, to be shown this once.

    What the operator set, and the key of a ``dev`` run, are valid as long as this process runs and are not
    stored.
    """
    made = new_key() if settings.dev and settings.api_key is None else None
    if (unstored := settings.api_key or made) is not None:
        engine.keys.add_operator_key(unstored)
        return made
    return await engine.keys.first_key()


def _put_dashboard(
    app: QuartTrio, engine: Engine, limits: RateLimits, settings: Settings, made: str | None
) -> str | None:
    """Of a ``dev`` run, what signs in at the dashboard once, with the key made for it or the operator's."""
    key = (settings.api_key or made) if settings.dev else None
    once = None if key is None else new_once()
    grant = None if key is None else engine.keys.accept(key)
    Dashboard(engine, limits, dev=settings.dev, once=once, once_grant=grant).mount(app)
    return once


def share_files(limit: int, attempts: int) -> tuple[int, int]:
    """How many attempts, at most as many as asked for, and how many clients fit into the open files.

    Attempts come first and leave 200; of those half is for clients, the rest for storage and look-ups. With
    a higher limit clients may have what attempts cannot use, up to `MAX_CONNECTIONS`.
    """
    attempts = max(1, min(attempts, limit - _SPARE_FILES))
    return attempts, max(_SPARE_FILES // 2, min(MAX_CONNECTIONS, limit - attempts - _SPARE_FILES // 2))


def _open_files_limit() -> int:
    """How many files this process may open, after raising its own limit as far as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # some systems have a lower limit behind the hard one
            return soft
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def _url(listeners: Sequence[trio.SocketListener], scheme: str = "http") -> str:
    host, port = listeners[0].socket.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ip_address(host).version == 6 else f"{scheme}://{host}:{port}"
