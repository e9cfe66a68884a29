"""`Client` and `AsyncClient`: where the service is, who asks, and how patiently."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from importlib import import_module
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import anyio
from attrs import evolve

from aq.client.both import D, Resource, iterates, method
from aq.client.call import Call, reads
from aq.client.core import Core, Flow
from aq.client.drivers import Async, AsyncHttpClient, HttpClient, Sync
from aq.client.events import PATIENCE, AsyncEvents, Events, Listener, listener
from aq.client.fields import encode_query
from aq.client.keys import Keys
from aq.client.queues import Queues
from aq.client.results import Health, Stats
from aq.client.schedules import Schedules
from aq.client.tasks import Tasks

DEFAULT_URL: Final = "http://127.0.0.1:8080"
TIMEOUT: Final = 10.0
DEADLINE: Final = 60.0
MAX_RETRIES: Final = 2


class _Service(Resource[D]):
    """What both clients have. ``core`` and ``driver`` are made by them."""

    def __init__(self, core: Core, driver: D) -> None:
        super().__init__(core, driver)
        self.tasks: Tasks[D] = Tasks(core, driver)
        self.queues: Queues[D] = Queues(core, driver)
        self.schedules: Schedules[D] = Schedules(core, driver)
        self.keys: Keys[D] = Keys(core, driver)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._core.base_url!r})"

    @property
    def base_url(self) -> str:
        """Where the service is."""
        return self._core.base_url

    @method
    def stats(self, *, queue: str | None = None, window: int | None = None) -> Flow[Stats]:
        """How much happened lately: of a queue or of all, over 900, 3,600 or 86,400 seconds."""
        return self._get(Stats, "stats", query=encode_query({"queue": queue, "window": window}))

    @iterates(Events, AsyncEvents)
    def events(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        stats: bool = False,
        last_event_id: str | None = None,
        patience: float = PATIENCE,
    ) -> Listener:
        """What happens from now on, or from behind an event that was heard: of a queue, of a task, or all.

        ``stats`` adds an event each second. A stream that breaks is resumed where it was, for up to
        ``patience`` seconds without a connection.
        """
        which = {"queue": queue, "task": task, "stats": 1 if stats else None}
        return listener(self._core, which, last_event_id, patience)

    @method
    def health(self) -> Flow[Health]:
        """Whether the process answers at all. Needs no key."""
        return self._core.do(Call(method="GET", path="/healthz", read=reads(Health)))

    @method
    def ready(self) -> Flow[Health]:
        """Whether it takes new work: ``ready``, ``degraded`` or ``not ready``, and why. Needs no key."""
        return self._core.do(Call(method="GET", path="/readyz", read=reads(Health), accepts=(503,)))

    def with_options(
        self, *, timeout: float | None = None, deadline: float | None = None, max_retries: int | None = None
    ) -> Self:
        """The same client on the same connections, more or less patient. Close the first one only."""
        given = {"timeout": timeout, "deadline": deadline, "max_retries": max_retries}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        other = object.__new__(type(self))
        _Service.__init__(other, evolve(self._core, **changes), self._driver)
        other._owned = False
        return other

    _owned: bool = False


class Client(_Service[Sync]):
    """The HTTP API of a service, for programs that block.

    ``base_url`` and ``api_key`` are those of the environment, ``AQ_URL`` and ``AQ_API_KEY``, where they are
    not given; the address after that is http://127.0.0.1:8080. One try of a call has ``timeout`` seconds;
    ``max_retries`` more follow where that is safe, all within ``deadline`` seconds. ``http_client`` is an
    ``httpx.Client`` of yours, which you close. Threads may share a client. Raises ValueError for an address
    or a key that cannot be one.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
        max_retries: int = MAX_RETRIES,
        http_client: HttpClient | None = None,
    ) -> None:
        core = _core(base_url, api_key, timeout, deadline, max_retries, time.monotonic)
        super().__init__(core, Sync(http_client or _httpx("Client", core.base_url)))
        self._owned = http_client is None

    def close(self) -> None:
        """Close the connections."""
        if self._owned:
            self._driver.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Service[Async]):
    """The HTTP API of a service, for programs on Trio or asyncio.

    As `Client`, with ``await`` and ``async for``; ``http_client`` is an ``httpx.AsyncClient``.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
        max_retries: int = MAX_RETRIES,
        http_client: AsyncHttpClient | None = None,
    ) -> None:
        core = _core(base_url, api_key, timeout, deadline, max_retries, anyio.current_time)
        super().__init__(core, Async(http_client or _httpx("AsyncClient", core.base_url)))
        self._owned = http_client is None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._owned:
            await self._driver.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _core(
    base_url: str | None,
    api_key: str | None,
    timeout: float,
    deadline: float,
    max_retries: int,
    clock: Callable[[], float],
) -> Core:
    url = (base_url or os.environ.get("AQ_URL") or DEFAULT_URL).rstrip("/")
    key = api_key or os.environ.get("AQ_API_KEY") or None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"base_url must be an http or https address, such as {DEFAULT_URL}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("base_url must have no credentials, query or fragment")
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise ValueError("api_key must be printable ASCII without spaces")
    return Core(
        base_url=url, api_key=key, timeout=timeout, deadline=deadline, max_retries=max_retries, clock=clock
    )


def _httpx(kind: str, url: str) -> Any:
    """A client of httpx, which is slow to import, and not needed by who brings another one."""
    return getattr(import_module("httpx"), kind)(trust_env=not on_loopback(url))


def on_loopback(url: str) -> bool:
    """Whether a service is on this machine: then no proxy of the environment stands between."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
