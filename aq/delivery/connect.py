"""From a destination to one connected stream: resolve, judge, connect, and TLS.

A name is looked up once. Every address that it has must pass the guard, or no packet goes to any of them: a
name with one public and one private address is an attack or a mistake. The connection goes to one of the
addresses judged, so what DNS says a moment later does not matter. Proxies in the environment are not used.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

import trio
from attrs import frozen

from aq.delivery.addresses import Guard, literal
from aq.delivery.protocol import DeliveryError
from aq.delivery.stopwatch import Stopwatch
from aq.delivery.streams import TcpStream, TlsStream
from aq.delivery.wire import Connection, tls_words
from aq.outcome import AttemptStatus, ErrorType
from aq.target import Destination

Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) → addresses as text, best first. Raises OSError (socket.gaierror) when there are none."""

NEXT_ADDRESS_S: Final = 5.0
"""So long one address of several is waited for before the next is tried."""

MAX_LOOKUPS: Final = 64
"""Look-ups at once. One that was given up keeps its thread until the system's resolver returns."""

MAX_LOOKUPS_OF_A_DOMAIN: Final = 8
"""Of these, for names of one domain: who runs it can make its look-ups hang."""
_SHARED: Final = frozenset({"ac", "co", "com", "edu", "gob", "gov", "go", "ne", "net", "nom", "or", "org"})
"""Below a country, names that nobody runs alone: ``co.uk``."""


class SystemResolver:
    """The system's getaddrinfo, in threads of its own: slow DNS does not hold up other thread work.

    ``look_up`` is a blocking (host, port) → addresses to use in its place. A cancelled look-up is abandoned.
    """

    def __init__(self, look_up: Callable[[str, int], Sequence[str]] | None = None) -> None:
        self._look_up = look_up or _look_up
        self._limiter = trio.CapacityLimiter(MAX_LOOKUPS)
        self._domains = WeakValueDictionary[str, _Share]()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        share = self._domains.setdefault(domain_of(host), _Share(self._limiter))
        return await trio.to_thread.run_sync(
            self._look_up,
            host,
            port,
            abandon_on_cancel=True,
            limiter=share,  # type: ignore[arg-type]  # trio asks for these two methods, its stub for the class
        )


def domain_of(host: str) -> str:
    """The part of a name that one party runs, as far as that shows in it: ``b.example``, ``b.co.uk``.

    Names within a network (``.local``, ``.internal``) are each of their own.
    """
    labels = host.rstrip(".").split(".")
    if labels[-1] in ("local", "internal"):
        return host
    shared = len(labels[-1]) == 2 and labels[-2:-1] and labels[-2] in _SHARED
    return ".".join(labels[-3 if shared else -2 :])


class _Share:
    """One domain's places among all look-ups. Held by the look-up's thread, also of one that was given up."""

    def __init__(self, everybody: trio.CapacityLimiter) -> None:
        self._everybody = everybody
        self._own = trio.CapacityLimiter(MAX_LOOKUPS_OF_A_DOMAIN)

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await self._own.acquire_on_behalf_of(borrower)
        try:
            await self._everybody.acquire_on_behalf_of(borrower)
        except BaseException:
            self._own.release_on_behalf_of(borrower)
            raise

    def release_on_behalf_of(self, borrower: object) -> None:
        self._everybody.release_on_behalf_of(borrower)
        self._own.release_on_behalf_of(borrower)


def _look_up(host: str, port: int) -> Sequence[str]:
    # As bytes: a str goes through Python's IDNA codec first, which raises on names that DNS may well have.
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


@frozen
class Connector:
    """Opens connections. ``ssl_context`` must verify, as `default_ssl_context` does."""

    guard: Guard
    resolver: Resolver
    ssl_context: ssl.SSLContext

    async def open(self, destination: Destination, stopwatch: Stopwatch) -> Connection:
        """A fresh connection, each step measured. Raises DeliveryError: blocked, dns, connect or tls."""
        address = literal(destination.host)
        stopwatch.begin("dns" if address is None else None)
        addresses = await self._resolved(destination) if address is None else [str(address)]
        self._judge(destination, addresses)
        stopwatch.begin("connect")
        stream = TcpStream(await _dial(destination, addresses))
        if destination.scheme == "http":
            stopwatch.begin(None)
            return Connection(stream)
        stopwatch.begin("tls")
        secured = await self._secure(stream, destination)
        stopwatch.begin(None)
        return Connection(secured)

    async def _resolved(self, destination: Destination) -> Sequence[str]:
        try:
            addresses = await self.resolver(destination.host, destination.port)
        except OSError as error:
            raise _no_address(destination, error.strerror or str(error)) from error
        if not addresses:
            raise _no_address(destination, "it has no address")
        return addresses

    def _judge(self, destination: Destination, addresses: Sequence[str]) -> None:
        for address in addresses:
            what = self.guard.judge(address)
            if what is not None:
                raise blocked(destination, what)

    async def _secure(self, tcp: TcpStream, destination: Destination) -> TlsStream:
        secured = False
        try:
            stream = TlsStream(tcp, self.ssl_context, destination.host.rstrip("."))
            await stream.handshake()
            secured = True
        except ssl.SSLEOFError as error:
            raise _no_tls(destination, "the receiver closed the connection") from error
        except ssl.SSLError as error:
            raise _no_tls(destination, tls_words(error)) from error
        except OSError as error:
            raise _no_tls(destination, "the connection broke") from error
        except ValueError as error:
            raise _no_tls(destination, "no certificate can be for such a name") from error
        finally:
            if not secured:
                tcp.close()
        return stream


def default_ssl_context() -> ssl.SSLContext:
    """Full verification against the system's authorities; HTTP/1.1 is all that is spoken."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # also where the system's OpenSSL would take less
    context.set_alpn_protocols(["http/1.1"])
    return context


def blocked(destination: Destination, what: str) -> DeliveryError:
    """Nothing was asked: the destination is, or resolves to, ``what``."""
    return DeliveryError(
        ErrorType.BLOCKED,
        f"{destination.host} is {what}: webhooks go there only if the service was started with --allow",
        AttemptStatus.BLOCKED,
    )


async def _dial(destination: Destination, addresses: Sequence[str]) -> socket.socket:
    """A socket connected to the first address that answers."""
    failure = f"no answer within {NEXT_ADDRESS_S:g} s"
    patience = [NEXT_ADDRESS_S] * (len(addresses) - 1) + [math.inf]
    for address, seconds in zip(addresses, patience, strict=True):
        with trio.move_on_after(seconds):
            try:
                return await _connect(address, destination.port)
            except OSError as error:
                failure = error.strerror or str(error)
    raise DeliveryError(ErrorType.CONNECT, f"could not connect to {destination}: {failure}")


async def _connect(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    connected = False
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex((address, port))
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        connected = True
    finally:
        if not connected:
            sock.close()
    return sock


def _no_address(destination: Destination, why: str) -> DeliveryError:
    return DeliveryError(ErrorType.DNS, f"could not look up {destination.host}: {why}")


def _no_tls(destination: Destination, why: str) -> DeliveryError:
    return DeliveryError(ErrorType.TLS, f"TLS with {destination} failed: {why}")
