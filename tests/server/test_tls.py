"""``aq serve --tls-cert``: the front room's promises over TLS, and what does not speak it."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
import trustme
from attrs import frozen
from click.testing import CliRunner

from aq.api import tls
from aq.cli import main
from tests.server.serve_world import KEY, MOST_SECONDS, Process, Serving, holding_target, running, serving

HEAD = (
    b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"X-API-Key: " + KEY.encode() + b"\r\n"
)
TASK = b'{"queue": "q", "webhook_url": "https://example.com/", "delay": 3600}'


@frozen
class Papers:
    """A certificate for localhost: chain and key, in two files and in one; and who trusts it."""

    cert: str
    key: str
    both: str
    trusting: ssl.SSLContext


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder, authority = tmp_path_factory.mktemp("papers"), trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    cert, key, both = (str(folder / f"{name}.pem") for name in ("cert", "key", "both"))
    return Papers(cert, key, both, trusting)


@pytest.fixture(params=[True, False], ids=["lane", "no lane"])
def lane(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def client(url: str, papers: Papers) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        headers={"X-API-Key": KEY},
        verify=papers.trusting,
        trust_env=False,
        timeout=MOST_SECONDS,
    )


@asynccontextmanager
async def tls_server(papers: Papers, **settings: object) -> AsyncIterator[Serving]:
    given = {"storage": "memory:", "api_key": KEY, "tls_cert": papers.cert, "tls_key": papers.key, **settings}
    async with serving(**given) as server:
        yield server


async def connected(server: Serving | Process, papers: Papers) -> trio.SSLStream[trio.SocketStream]:
    tcp = await trio.open_tcp_stream("127.0.0.1", port_of(server))
    return trio.SSLStream(tcp, papers.trusting, server_hostname="localhost")


def port_of(server: Serving | Process) -> int:
    return int(server.url.rpartition(":")[2])


async def test_tasks_are_created_and_read_on_one_connection(papers: Papers, lane: bool) -> None:
    async with tls_server(papers, lane=lane) as server, client(server.url, papers) as api:
        assert server.url.startswith("https://")
        for _ in range(3):
            made = await api.post("/v1/tasks", content=TASK, headers={"Content-Type": "application/json"})
            assert made.status_code == 201
            assert (await api.get(made.headers["location"])).status_code == 200


async def test_long_requests_and_long_answers_come_whole(papers: Papers, lane: bool) -> None:
    task = {"queue": "q", "webhook_url": "https://example.com/", "delay": 60, "payload": {"x": "é" * 400_000}}
    async with tls_server(papers, lane=lane) as server, client(server.url, papers) as api:
        made = (await api.post("/v1/tasks", json=task)).json()["id"]
        assert (await api.get(f"/v1/tasks/{made}")).json()["payload"] == task["payload"]


async def test_events_stream_while_requests_go_on(papers: Papers) -> None:
    async with tls_server(papers) as server, client(server.url, papers) as api:
        stream, heard = await connected(server, papers), b""
        request = f"GET /v1/events?stats=1 HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n"
        await stream.send_all(request.encode())
        while b"event: stats" not in heard:
            heard += await stream.receive_some()
        await api.post("/v1/tasks", content=TASK, headers={"Content-Type": "application/json"})
        while b"event: task.created" not in heard:
            heard += await stream.receive_some()
        await trio.aclose_forcefully(stream)


async def test_the_app_knows_that_it_is_https(papers: Papers) -> None:
    """So the dashboard's cookie is for HTTPS only."""
    async with tls_server(papers, dev=True, api_key=None) as server, client(server.url, papers) as api:
        path = server.said.partition(f"{server.url}/signin/")[2].split()[0]
        answer = await api.get(f"/signin/{path}", follow_redirects=False)
        assert "Secure" in answer.headers["set-cookie"] or "__Host-" in answer.text


async def test_a_request_that_is_too_long_is_told_so(papers: Papers, lane: bool) -> None:
    async with tls_server(papers, lane=lane) as server:
        stream = await connected(server, papers)
        await stream.send_all(HEAD + b"Content-Length: 2000000\r\n\r\n" + b" " * 100_000)
        assert b" 413 " in (await until_end(stream)).partition(b"\r\n")[0]


async def test_a_malformed_request_is_told_so_and_the_connection_ended_with_a_goodbye(papers: Papers) -> None:
    async with tls_server(papers) as server:
        stream = await connected(server, papers)
        await stream.send_all(b"POST /v1/tasks NONSENSE\r\n\r\n")
        answer = await until_end(stream)
        assert answer.startswith(b"HTTP/1.1 400")


async def until_end(stream: trio.SSLStream[trio.SocketStream]) -> bytes:
    """All that comes; a connection that ends without TLS's goodbye raises, unlike with https_compatible."""
    data = b""
    while part := await stream.receive_some():
        data += part
    await stream.aclose()
    return data


async def test_who_does_not_speak_tls_is_closed_and_others_are_served(papers: Papers) -> None:
    async with tls_server(papers) as server, client(server.url, papers) as api:
        for said in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 400_000, b""):
            async with await trio.open_tcp_stream("127.0.0.1", port_of(server)) as stream:
                try:
                    await stream.send_all(said)
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass  # closed with what it sent unread
        assert (await api.get("/healthz")).status_code == 200


async def test_who_does_not_begin_is_closed_in_time(papers: Papers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.05)
    async with (
        tls_server(papers) as server,
        await trio.open_tcp_stream("127.0.0.1", port_of(server)) as stream,
    ):
        assert await stream.receive_some() == b""


async def test_old_versions_of_tls_are_refused(papers: Papers) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # that is the point
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with tls_server(papers) as server:
        tcp = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        stream = trio.SSLStream(tcp, old, server_hostname="localhost")
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
        await tcp.aclose()


async def test_the_end_is_in_good_order(papers: Papers, tmp_path: Path) -> None:
    """A 503 with the door open, an attempt that finishes, an idle client and one in mid-handshake, exit 0."""
    files = ("--tls-cert", papers.both, "--allow", "127.0.0.0/8", "--grace", "60")
    async with (
        holding_target() as target,
        running(tmp_path, *files, AQ_API_KEY=KEY) as server,
        client(server.url, papers) as api,
        await trio.open_tcp_stream("127.0.0.1", port_of(server)),
    ):
        body = {"queue": "q", "webhook_url": target.url}
        await api.post("/v1/tasks", json=body)
        await target.arrived.wait()
        server.terminate()
        await server.until_said("taking no more work")
        assert (await api.post("/v1/tasks", json=body)).status_code == 503
        target.go.set()
        assert await server.process.wait() == 0


WRONG = {
    "a key alone": ["--tls-key", "{key}"],
    "a certificate without its key": ["--tls-cert", "{cert}"],
    "what is none": ["--tls-cert", "{none}"],
    "more workers": ["--workers", "2"],
}


@pytest.mark.parametrize("args", WRONG.values(), ids=WRONG.keys())
def test_what_no_start_could_mend_is_wrong_usage(
    papers: Papers, args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"key": papers.key, "cert": papers.cert, "none": str(tmp_path / "none.pem")}
    result = CliRunner().invoke(main, ["serve", *(arg.format(**names) for arg in args)])
    assert result.exit_code == 2
    assert args[0] in result.output
