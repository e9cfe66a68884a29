"""What the environment and the DNS say: what is heeded, and what is not."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trustme

from aq.delivery.connect import default_ssl_context
from aq.delivery.protocol import DeliveryError
from aq.outcome import ErrorType

from .receiver import OK, Peer, answering, serve
from .support import Names, open_transport, post

HOST = "receiver.example"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy", "socks_proxy")


@pytest.mark.parametrize("scheme", ["http", "socks5", "https"])
async def test_no_proxy_of_the_environment_is_used(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    proxy = await serve(nursery, answering(OK))
    for name in PROXIES:
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, f"{scheme}://127.0.0.1:{proxy.port}")
    receiver, shut = await serve(nursery, answering(OK)), await serve(nursery, Peer.close)
    async with open_transport(resolver=Names(receiver_example=[["127.0.0.1"]])) as transport:
        assert (await transport.send(post(f"http://{HOST}:{receiver.port}/"))).status == 200
        with pytest.raises(DeliveryError):
            await transport.send(post(f"https://{HOST}:{shut.port}/"))
    assert (proxy.connections, shut.connections) == (0, 1)


async def test_no_credentials_come_from_a_netrc(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login me password s3cret\nmachine 127.0.0.1 login me password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    receiver = await serve(nursery, answering(OK))
    async with open_transport() as transport:
        await transport.send(post(receiver.url))
    assert receiver.requests[0].headers.keys() == {"host", "content-length", "content-type"}


@pytest.mark.parametrize("set_", [True, False])
async def test_ssl_cert_file_names_the_authorities_that_are_trusted(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, set_: bool
) -> None:
    """As docs/security.md says: it is the operator's way to trust an authority of one's own."""
    authority, server = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(server)
    authority.cert_pem.write_to_path(str(tmp_path / "ours.pem"))
    if set_:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ours.pem"))
    receiver = await serve(nursery, answering(OK), server)
    names = Names(receiver_example=[["127.0.0.1"]])
    async with open_transport(resolver=names, ssl_context=default_ssl_context()) as transport:
        if set_:
            assert (await transport.send(post(f"https://{HOST}:{receiver.port}/"))).status == 200
            return
        with pytest.raises(DeliveryError, match="not trusted"):
            await transport.send(post(f"https://{HOST}:{receiver.port}/"))


def test_nothing_turns_verification_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONHTTPSVERIFY", "SSL_VERIFY", "CURL_INSECURE", "NODE_TLS_REJECT_UNAUTHORIZED"):
        monkeypatch.setenv(name, "0")
    context = default_ssl_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def many(*last: str) -> Sequence[str]:
    """A hundred addresses: on none but the last anybody listens."""
    return [f"127.0.1.{number}" for number in range(100 - len(last))] + list(last)


async def test_of_a_hundred_addresses_one_internal_one_is_enough_to_refuse_them_all(
    nursery: trio.Nursery,
) -> None:
    receiver = await serve(nursery, answering(OK))
    for position in (0, 50, 99):
        addresses = ["127.0.0.1"] * 100
        addresses[position] = "169.254.169.254"
        async with open_transport(resolver=Names(receiver_example=[addresses])) as transport:
            with pytest.raises(DeliveryError, match="metadata") as caught:
                await transport.send(post(f"http://{HOST}:{receiver.port}/"))
        assert caught.value.error_type is ErrorType.BLOCKED
    assert receiver.connections == 0


async def test_a_hundred_addresses_are_tried_in_turn(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    url = f"http://{HOST}:{receiver.port}/"
    async with open_transport(resolver=Names(receiver_example=[many("127.0.0.1")])) as transport:
        assert (await transport.send(post(url))).status == 200
    async with open_transport(resolver=Names(receiver_example=[many()])) as transport:
        with pytest.raises(DeliveryError, match="refused") as caught:
            await transport.send(post(url))
    assert caught.value.error_type is ErrorType.CONNECT


async def test_a_mapped_answer_is_the_address_within(nursery: trio.Nursery) -> None:
    """What DNS gives as AAAA ``::ffff:a.b.c.d`` is judged, and reached, over IPv4."""
    receiver = await serve(nursery, answering(OK))
    url = f"http://{HOST}:{receiver.port}/"
    async with open_transport(resolver=Names(receiver_example=[["::ffff:127.0.0.1"]])) as transport:
        assert (await transport.send(post(url))).status == 200
    for mapped in ("::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"):
        async with open_transport(resolver=Names(receiver_example=[[mapped]])) as transport:
            with pytest.raises(DeliveryError) as caught:
                await transport.send(post(url))
            assert caught.value.error_type is ErrorType.BLOCKED
    assert receiver.connections == 1


@pytest.mark.parametrize("error", [socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_NONAME])
async def test_what_the_resolver_says_is_told_and_no_address_guessed(error: int) -> None:
    async def failing(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(error, "no luck")

    async with open_transport(resolver=failing) as transport:
        with pytest.raises(DeliveryError, match="no luck") as caught:
            await transport.send(post(f"http://{HOST}/"))
    assert caught.value.error_type is ErrorType.DNS
