"""Every way to write an internal address that anybody thought of, as webhook and as callback.

A canary listens on every address of this machine. Each spelling is refused when the task is created, or the
delivery is blocked; nothing ever connects.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio

from aq.api.app import create_app
from aq.delivery.addresses import Guard
from aq.delivery.connect import Connector, default_ssl_context
from aq.delivery.transport import PoolTransport
from aq.opening import open_engine
from aq.outcome import AttemptStatus
from tests.api.api_world import KEY, Api, Reply, SteeredRunner

URLS = r"""
    http://127.0.0.1:{0}/ http://127.0.0.1:{0} HTTP://127.0.0.1:{0}/ http://127.1:{0}/ http://127.0.1:{0}/
    http://127.0.0.1.:{0}/ http://127.0.0.1..:{0}/ http://127.1.:{0}/ http://2130706433:{0}/
    http://2130706433.:{0}/ http://017700000001:{0}/ http://0x7f000001:{0}/ http://0X7F000001:{0}/
    http://0x7f.1:{0}/ http://0177.0.0.1:{0}/ http://0177.0x0.0.1:{0}/ http://00000177.1:{0}/
    http://127.000.000.001:{0}/ http://127.255.255.254:{0}/ http://0:{0}/ http://0.0.0.0:{0}/ http://0x0:{0}/
    http://00:{0}/ http://4294967296:{0}/ http://6425673729:{0}/ http://256.256.256.256:{0}/
    http://localhost:{0}/ http://LOCALHOST:{0}/ http://localhost.:{0}/ http://localhost..:{0}/
    http://a.localhost:{0}/ http://a.localhost.:{0}/ http://localhost.localdomain:{0}/
    http://ip6-localhost:{0}/ http://printer.local:{0}/ http://metadata.google.internal:{0}/
    http://metadata:{0}/ http://instance-data:{0}/ http://kubernetes.default.svc.cluster.local:{0}/
    http://intranet:{0}/ http://router.lan:{0}/ http://127.0.0.1.nip.io:{0}/ http://localtest.me:{0}/
    http://xn--lcalhost-n0f:{0}/ http://xn--80ak6aa92e.example:{0}/
    http://[::1]:{0}/ http://[::]:{0}/ http://[0:0:0:0:0:0:0:1]:{0}/ http://[0000::0001]:{0}/
    http://[::FFFF:127.0.0.1]:{0}/ http://[::ffff:7f00:1]:{0}/ http://[0:0:0:0:0:ffff:127.0.0.1]:{0}/
    http://[::127.0.0.1]:{0}/ http://[::ffff:0:127.0.0.1]:{0}/ http://[64:ff9b::127.0.0.1]:{0}/
    http://[64:ff9b:1::7f00:1]:{0}/ http://[2002:7f00:1::]:{0}/ http://[2001:0:7f00:1::]:{0}/
    http://[2606:4700::5efe:127.0.0.1]:{0}/ http://[::1%lo]:{0}/ http://[::1%25lo]:{0}/ http://[fe80::1]:{0}/
    http://[fe80::1%25eth0]:{0}/ http://[::1]%00.example:{0}/ http://::1:{0}/ http://[[::1]]:{0}/
    http://169.254.169.254/ http://0xa9fea9fe/ http://2852039166/ http://169.254.43518/ http://0251.0376.0251.0376/
    http://[fd00:ec2::254]/ http://[fd20:ce::254]/ http://100.100.100.200/ http://168.63.129.16/
    http://192.0.0.192/ http://[::ffff:a9fe:a9fe]/ http://169.254.170.2/ http://10.0.0.1/ http://192.168.1.1/
    http://172.16.0.1/ http://100.64.0.1/ http://198.18.0.1/ http://224.0.0.1/ http://255.255.255.255/
    http://%31%32%37.0.0.1:{0}/ http://127%2e0%2e0%2e1:{0}/ http://127.0.0.1%00:{0}/ http://%6cocalhost:{0}/
    http://１２７.０.０.１:{0}/ http://127。0。0。1:{0}/ http://127．0．0．1:{0}/ http://①②⑦.⓪.⓪.①:{0}/
    http://ⓛocalhost:{0}/ http://lоcalhost:{0}/ http://localhoſt:{0}/ http://١٢٧.٠.٠.١:{0}/
    http://good.example@127.0.0.1:{0}/ http://good.example:80@127.0.0.1:{0}/ http://127.0.0.1:{0}@good.example/
    http://good.example%40127.0.0.1:{0}/ http://@127.0.0.1:{0}/ http://good.example#@127.0.0.1:{0}/
    http://127.0.0.1:{0}#good.example/ http://127.0.0.1:{0}\@good.example/ http://good.example\@127.0.0.1:{0}/
    http://127.0.0.1:{0}?@good.example/ http:\\127.0.0.1:{0}/ http:/127.0.0.1:{0}/ http:127.0.0.1:{0}/
    //127.0.0.1:{0}/ http:///127.0.0.1:{0}/ http://127.0.0.1:{0}:80/ http://127.0.0.1:+{0}/ http://127.0.0.1:0{0}/
    ftp://127.0.0.1:{0}/ gopher://127.0.0.1:{0}/ file:///etc/passwd unix:///run/docker.sock
    dict://127.0.0.1:{0}/ https://127.0.0.1:{0}/ https://localhost:{0}/ https://[::1]:{0}/
"""
WITH_BLANKS = [
    " http://127.0.0.1:{0}/",
    "http://127.0.0.1:{0}/ ",
    "http://127.0.0.1\t:{0}/",
    "http://127.0.0.1:{0}/\n",
    "\nhttp://127.0.0.1:{0}/",
    "http://127.0.\n0.1:{0}/",
    "ht\ttp://127.0.0.1:{0}/",
    "http://127.0.0.1\0.good.example:{0}/",
    "http://good.example\r\n@127.0.0.1:{0}/",
    "http://127.0.0.1\u00ad:{0}/",
    "http://127.0.0.1\u200b:{0}/",
    "http://127.0.0.1\u202e:{0}/",
]
SPELLINGS = [*URLS.split(), *WITH_BLANKS]
PUBLIC = ("192.0.2.0/24",)
"""Stands for the public, and leads nowhere should the guard fail."""
GOOD = "https://192.0.2.1/"
LOOPBACKS = (["127.0.0.1"], ["::1"], ["0.0.0.0"], ["192.0.2.1", "127.0.0.1"], ["::ffff:127.0.0.1"])


class Canary:
    """Listens on one port of every address that this machine has."""

    def __init__(self) -> None:
        v4 = socket.create_server(("", 0))
        self.port: int = v4.getsockname()[1]
        self._listening = [v4, socket.create_server(("", self.port), family=socket.AF_INET6)]
        for sock in self._listening:
            sock.setblocking(False)

    def connections(self) -> int:
        """On loopback a connection is there as soon as it was made."""
        return sum(self._accepted(sock) for sock in self._listening)

    def close(self) -> None:
        for sock in self._listening:
            sock.close()

    @staticmethod
    def _accepted(sock: socket.socket) -> int:
        try:
            sock.accept()[0].close()
        except BlockingIOError:
            return 0
        return 1


@pytest.fixture
def canary() -> Iterator[Canary]:
    found = Canary()
    yield found
    found.close()


class EveryNameIsInternal:
    """What the system takes for an address is one; all else is a name of an attacker, who says what it is."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        try:
            found = socket.getaddrinfo(host.encode(), port, flags=socket.AI_NUMERICHOST)
        except OSError:
            return self._addresses
        return [str(sockaddr[0]) for *_, sockaddr in found]


@asynccontextmanager
async def api_with(addresses: Sequence[str]) -> AsyncIterator[Api]:
    """An API whose tasks are delivered for real, to whatever the resolver says."""
    connector = Connector(Guard(PUBLIC), EveryNameIsInternal(addresses), default_ssl_context())
    async with open_engine(transport=PoolTransport(connector), allow=PUBLIC, grace=0) as engine:
        engine.keys.add_operator_key(KEY)
        await engine.queues.create("q", max_retries=0)
        yield Api(create_app(engine), engine, SteeredRunner())


async def create(api: Api, **urls: str) -> Reply:
    return await api.post("/v1/tasks", {"queue": "q", **urls})


def test_there_are_enough() -> None:
    assert len(set(SPELLINGS)) == len(SPELLINGS) > 120


@pytest.mark.parametrize("addresses", LOOPBACKS, ids=" ".join)
async def test_each_is_refused_or_blocked_and_nothing_connects(
    autojump_clock: object, canary: Canary, addresses: Sequence[str]
) -> None:
    async with api_with(addresses) as api:
        accepted = []
        for url in (spelling.format(canary.port) for spelling in SPELLINGS):
            reply = await create(api, webhook_url=url, callback_url=url)
            if reply.status == 201:
                accepted.append(reply.json["id"])
                continue
            assert reply.fields == {"webhook_url", "callback_url"}, url
            assert (await create(api, webhook_url=url)).fields == {"webhook_url"}
            assert (await create(api, webhook_url=GOOD, callback_url=url)).fields == {"callback_url"}
        await trio.sleep(3_600)  # virtual: each has ended, and its callback too
        assert canary.connections() == 0
        for task_id in accepted:
            shown = (await api.get(f"/v1/tasks/{task_id}")).json
            assert [it["status"] for it in shown["attempts"]] == [AttemptStatus.BLOCKED], shown["webhook_url"]
            assert (shown["callback"]["status"], shown["callback"]["attempts"]) == ("failed", 1)
        assert len(accepted) > 10


async def test_the_canary_hears_what_is_allowed(autojump_clock: object, canary: Canary) -> None:
    connector = Connector(Guard(["127.0.0.0/8"]), EveryNameIsInternal([]), default_ssl_context())
    transport = PoolTransport(connector)
    async with open_engine(transport=transport, allow=["127.0.0.0/8"], grace=0) as engine:
        engine.keys.add_operator_key(KEY)
        api = Api(create_app(engine), engine, SteeredRunner())
        await create(api, webhook_url=f"http://127.1:{canary.port}/")
        await trio.sleep(1)
        assert canary.connections() == 1
