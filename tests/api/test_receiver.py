"""The development receiver."""

from __future__ import annotations

import logging

import pytest

from aq.delivery.signing import parse_secrets, sign
from tests.api.api_world import SECRET, Api, Reply, check_problem, open_api

BODY = b'{"task_id":"task_1","queue":"q","payload":{},"attempt":1}'
NOW = 1_800_000_000


async def deliver(api: Api, query: str = "", *, body: bytes = BODY, at: int = NOW) -> Reply:
    headers = dict(sign(parse_secrets(SECRET), "task_1", at, BODY))
    return await api.post(f"/dev/receiver{query}", raw=body, headers=headers, key=None)


async def test_it_takes_what_is_signed_and_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    async with open_api(dev=True) as api:
        with caplog.at_level(logging.INFO):
            reply = await deliver(api)
        assert (reply.status, reply.json) == (200, {"received": True})
        assert "task_1" in caplog.text


async def test_it_answers_as_asked(autojump_clock: object) -> None:
    async with open_api(dev=True) as api:
        assert (await deliver(api, "?status=503&delay=2.5")).status == 503
        reply = await deliver(api, "?status=204")
        assert (reply.status, reply.body) == (204, b"")


async def test_it_refuses_what_is_not_signed_or_old_or_changed() -> None:
    async with open_api(dev=True) as api:
        check_problem(await api.post("/dev/receiver", raw=BODY, key=None), 401)
        check_problem(await deliver(api, body=BODY + b" "), 401)
        check_problem(await deliver(api, at=NOW - 301), 401)


async def test_a_bad_query_is_named() -> None:
    async with open_api(dev=True) as api:
        assert (await deliver(api, "?status=99&delay=-1&x=1")).fields == {"status", "delay", "x"}


async def test_it_is_not_there_without_dev() -> None:
    async with open_api() as api:
        check_problem(await deliver(api), 404)
