"""How a client is made, what it takes from the environment, and what it keeps to itself."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
import pytest

from aq import AsyncClient, Client
from aq.api import queues as queue_route
from aq.api import tasks as task_route
from aq.apikey import NewKey
from aq.client import fields
from aq.client.clients import on_loopback
from aq.queues import Retry
from aq.rules import rules_of
from aq.schedule import NewSchedule
from aq.task import NewTask
from tests.client.faces import go, service
from tests.server.serve_world import KEY


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (fields.TaskFields, rules_of(NewTask)),
        (fields.TaskFilter, task_route.FILTERS),
        (fields.PolicyFields, queue_route.POLICY),
        ({*fields.FailedFilter.__annotations__, "dry_run"}, rules_of(Retry)),
        (fields.ScheduleFields, rules_of(NewSchedule)),
        (fields.KeyFields, rules_of(NewKey)),
    ],
    ids=["task", "list", "policy", "retry", "schedule", "key"],
)
def test_every_field_of_the_api_is_known_by_its_name(ours: Any, theirs: Any) -> None:
    assert set(getattr(ours, "__annotations__", ours)) == set(theirs)


def test_help_shows_every_field() -> None:
    create = inspect.signature(Client("http://a").tasks.create).parameters
    assert set(create) == {"traceparent", "tracestate", *rules_of(NewTask)}
    assert {name for name, it in create.items() if it.default is it.empty} == {"queue", "webhook_url"}
    shown = inspect.signature(AsyncClient("http://a").queues.retry)
    assert shown.return_annotation == "int"
    assert inspect.signature(Client("http://a").tasks.list).return_annotation == "Pages | AsyncPages"
    assert Client("http://a").tasks.create.__doc__ == AsyncClient("http://a").tasks.create.__doc__
    assert inspect.iscoroutinefunction(AsyncClient("http://a").tasks.create)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_address_and_key_come_from_the_environment(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AQ_URL", raising=False)
    assert kind().base_url == "http://127.0.0.1:8080"
    monkeypatch.setenv("AQ_URL", "https://aq.example/base/")
    monkeypatch.setenv("AQ_API_KEY", "aq_live_hush")
    client = kind()
    assert repr(client) == f"{kind.__name__}('https://aq.example/base')"
    assert "hush" not in f"{vars(client)!r}{client.tasks!r}"
    assert client._core.api_key == "aq_live_hush"
    assert kind("http://other", "aq_live_mine")._core.api_key == "aq_live_mine"


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("127.0.0.1:8080", "k"),
        ("ftp://a", "k"),
        ("http://", "k"),
        ("http://user:secret@a", "k"),
        ("http://a?x=1", "k"),
        ("http://a#x", "k"),
        ("http://a", "secret key"),
        ("http://a", "secret\r\nx: y"),
        ("http://a", "sécret"),
    ],
)
def test_what_cannot_be_an_address_or_a_key_is_told_without_quoting_it(url: str, key: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        Client(url, key)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:1", True),
        ("http://localhost/x", True),
        ("http://aq.localhost", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example", False),
    ],
)
def test_what_is_on_this_machine(url: str, expected: bool) -> None:
    assert on_loopback(url) is expected


async def test_no_proxy_stands_between_on_this_machine(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with service() as server:

        async def scenario(client: Any) -> None:
            assert await go(client.tasks.list()) == []

        await face(scenario, server.url, KEY)


async def test_a_client_of_yours_is_used_as_it_is_and_stays_open(face: Any) -> None:
    """Its own authentication and its following of redirects are not: the key goes to the service only."""
    options: Any = {"auth": ("someone", "else"), "follow_redirects": True, "trust_env": False}
    async with service() as server:
        made: list[Any] = []

        async def scenario(client: Any) -> None:
            blocking = isinstance(client, Client)
            mine: Any = (httpx.Client if blocking else httpx.AsyncClient)(headers={"X-Mine": "1"}, **options)
            other = type(client)(server.url, KEY, http_client=mine)
            assert await go(other.tasks.list()) == []
            await go(other.close() if blocking else other.aclose())
            made.append(mine.is_closed)
            await go(mine.close() if blocking else mine.aclose())

        await face(scenario, server.url, KEY)
        assert made == [False]


async def test_other_options_on_the_same_connections(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            patient = client.with_options(max_retries=9, timeout=1)
            assert type(patient) is type(client)
            assert patient._driver is client._driver
            assert (patient._core.max_retries, patient._core.timeout, patient._core.deadline) == (9, 1, 60)
            assert client._core.max_retries == 2
            await go(patient.close() if isinstance(client, Client) else patient.aclose())
            assert await go(client.tasks.list()) == []

        await face(scenario, server.url, KEY)


async def test_many_may_share_a_client(face: Any) -> None:
    """Threads a `Client`, tasks an `AsyncClient`."""
    async with service() as server:
        far = {"webhook_url": "http://127.0.0.1:9/x", "delay": 3600}

        async def scenario(client: Any) -> None:
            def create(number: int) -> Any:
                return client.tasks.create(queue="q", payload={"n": number}, **far)

            if isinstance(client, Client):
                with ThreadPoolExecutor(8) as pool:
                    made = list(pool.map(create, range(80)))
            else:
                made = []

                async def some(first: int) -> None:
                    for number in range(first, 80, 8):
                        made.append(await create(number))

                async with anyio.create_task_group() as group:
                    for first in range(8):
                        group.start_soon(some, first)
            listed = await go(client.tasks.list())
            assert {task.id for task in listed} == {task.id for task in made}
            assert len(listed) == 80

        await face(scenario, server.url, KEY)
