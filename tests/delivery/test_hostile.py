"""Receivers that mean harm, met by one attempt as the engine makes it: over TCP, over TLS, in virtual time.

Whatever they do, the attempt ends by its deadline with the right word for what happened, takes little memory,
and the connection goes with it.
"""

from __future__ import annotations

import datetime
import gzip
import ssl
import tracemalloc
from collections.abc import Iterator

import pytest
import trio
import trustme
from attrs import field, frozen
from msgspec.structs import replace
from trio.testing import MockClock

from aq.actors.runner import run_attempt
from aq.delivery.connect import default_ssl_context
from aq.outcome import AttemptStatus, ErrorType, Outcome

from .receiver import OK, Peer, Receiver, Script, answering, serve
from .support import Names
from .test_webhook import delivery, open_runner

KIB = 1 << 10
TIMEOUT = 5
"""Seconds of an attempt, in virtual time."""
MOST_MEMORY = 1 << 20
DRIPS = 50
"""Seconds of what is called endless: beyond every deadline."""
FLOOD = 16 << 20
"""Bytes of what is called endless: beyond every cap. Whoever reads them all then waits, and is told."""
HOST = "receiver.example"
NAMES = {"receiver_example": [["127.0.0.1"]]}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def clock() -> MockClock:
    """Time goes on when nothing has happened for a moment, so that no receiver makes a test wait."""
    return MockClock(autojump_threshold=0.02)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = default_ssl_context()
    authority.configure_trust(context)
    return context


def server_side(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext | None:
    return server_side(authority.issue_cert(HOST)) if request.param == "https" else None


# -- what they do -------------------------------------------------------------------------------------------
def says(*pieces: bytes) -> Script:
    """Say this, and keep the connection open."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in pieces:
            await peer.say(piece)
        await peer.closed()

    return script


def leaves(said: bytes = b"", *, reset: bool = False) -> Script:
    """Say this, and go."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(said)
        await (peer.reset() if reset else peer.close())

    return script


def drips(said: bytes, piece: bytes) -> Script:
    """Say this, then a little more each second, for ever."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(said)
        for _ in range(DRIPS):
            await trio.sleep(1)
            await peer.say(piece)
        await peer.closed()

    return script


def floods(said: bytes, piece: bytes) -> Script:
    """Say this, then ever more, as fast as it is taken."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(said)
        for _ in range(FLOOD // len(piece)):
            await peer.say(piece)
        await peer.closed()

    return script


async def never_reads(peer: Peer) -> None:
    await trio.sleep_forever()


@frozen
class Case:
    """A receiver, and what the attempt is to be."""

    name: str
    script: Script
    status: AttemptStatus
    kind: ErrorType | None
    told: str = field(default="", kw_only=True)
    """Within the attempt's error."""

    def check(self, outcome: Outcome) -> None:
        assert (outcome.status, outcome.error_type) == (self.status, self.kind)
        assert self.told in (outcome.error or "")


def hangs(name: str, script: Script) -> Case:
    return Case(name, script, AttemptStatus.TIMEOUT, ErrorType.TIMEOUT, told="no answer within 5 s")


def breaks(name: str, script: Script, told: str = "") -> Case:
    return Case(name, script, AttemptStatus.ERROR, ErrorType.RESET, told=told)


def nonsense(name: str, *pieces: bytes) -> Case:
    """Seen through at once: nobody waits for the connection to end."""
    return breaks(name, says(*pieces), "the answer is not HTTP")


def too_large(name: str, script: Script, told: str) -> Case:
    return Case(name, script, AttemptStatus.ERROR, ErrorType.TOO_LARGE, told=told)


def succeeds(name: str, script: Script) -> Case:
    return Case(name, script, AttemptStatus.SUCCESS, None)


def fails(name: str, script: Script, kind: ErrorType, told: str = "") -> Case:
    return Case(name, script, AttemptStatus.FAILURE, kind, told=told)


def ok(*headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", body])


CASES = [
    hangs("nothing is read", never_reads),
    hangs("silent after the request", says()),
    hangs("silent in the head", says(b"HTTP/1.1 200 OK\r\nContent-Le")),
    hangs("silent in the body", says(ok(b"Content-Length: 9", body=b"half"))),
    hangs("silent in a body of 1 GiB", says(ok(b"Content-Length: 1073741824", body=b"x" * KIB))),
    hangs("silent after an interim answer", says(b"HTTP/1.1 100 Continue\r\n\r\n")),
    hangs("a head that drips", drips(b"HTTP/1.1 200 OK\r\nX: ", b"x")),
    hangs("headers that drip", drips(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")),
    hangs("interim answers that drip", drips(b"", b"HTTP/1.1 102 Processing\r\n\r\n")),
    hangs("a body that drips", drips(ok(b"Content-Length: 999"), b"x")),
    hangs("chunks that drip", drips(CHUNKED, b"1\r\nx\r\n")),
    hangs("a body without length that drips", drips(ok(), b"x")),
    hangs("trailers that drip", drips(CHUNKED + b"0\r\n", b"X: y\r\n")),
    *(
        too_large(f"a flood of {status}", floods(b"", b"HTTP/1.1 %d Wait\r\n\r\n" % status), "interim")
        for status in (100, 102, 103)
    ),
    too_large("one header without end", floods(b"HTTP/1.1 200 OK\r\nX: ", b"x" * KIB), "32 KiB"),
    too_large("a name without end", floods(b"HTTP/1.1 200 OK\r\n", b"x" * KIB), "32 KiB"),
    too_large("headers without end", floods(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 99), "100 headers"),
    too_large("a reason without end", floods(b"HTTP/1.1 200 ", b"x" * KIB), "32 KiB"),
    too_large("empty lines without end", floods(b"", b"\r\n" * KIB), "32 KiB"),
    succeeds("a body without end", floods(ok(), b"x" * KIB)),
    succeeds("chunks without end", floods(CHUNKED, b"400\r\n" + b"x" * KIB + b"\r\n")),
    succeeds("an extension of a chunk without end", floods(CHUNKED + b"1;x=", b"x" * KIB)),
    succeeds("trailers without end", floods(CHUNKED + b"0\r\n", b"X: y\r\n" * 99)),
    succeeds("1 GiB", floods(ok(b"Content-Length: 1073741824"), b"x" * KIB)),
    fails("a failure without end", floods(b"HTTP/1.1 500 Oh\r\n\r\n", b"x" * KIB), ErrorType.HTTP_5XX),
    succeeds(
        "a bomb of gzip",
        floods(ok(b"Content-Encoding: gzip"), gzip.compress(bytes(10 * KIB * KIB), compresslevel=9)),
    ),
    breaks("closed before an answer", leaves(), "without an answer"),
    breaks("closed in the head", leaves(b"HTTP/1.1 200 OK\r\nContent-"), "without an answer"),
    breaks("closed before the declared length", leaves(ok(b"Content-Length: 9", body=b"half")), "middle"),
    breaks("closed in a chunk", leaves(CHUNKED + b"5\r\nha"), "middle"),
    breaks("reset before an answer", leaves(reset=True)),
    breaks("reset in the body", leaves(ok(b"Content-Length: 9", body=b"half"), reset=True)),
    nonsense("a banner", b"SSH-2.0-OpenSSH_9.6\r\n"),
    nonsense("noise", bytes(range(256)) * 4),
    nonsense("HTTP/0.9", b"<html>hello</html>"),
    nonsense("HTTP/0.9 with a version", b"HTTP/0.9 200 OK\r\n\r\n"),
    nonsense("HTTP/2.0", b"HTTP/2.0 200 OK\r\n\r\n"),
    nonsense("HTTP/2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
    nonsense("RTSP", b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    nonsense("two lengths", ok(b"Content-Length: 5", b"Content-Length: 6", body=b"abcdef")),
    nonsense("one length twice", ok(b"Content-Length: 2", b"Content-Length: 2", body=b"ok")),
    nonsense("a list of lengths", ok(b"Content-Length: 2, 3", body=b"okk")),
    nonsense("a signed length", ok(b"Content-Length: +2", body=b"ok")),
    nonsense("a length that overflows", ok(b"Content-Length: 18446744073709551617", body=b"ok")),
    nonsense(
        "a length and chunks", ok(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")
    ),
    nonsense(
        "chunks and a length", ok(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n")
    ),
    nonsense("a chunk of no size", CHUNKED + b"xyz\r\n"),
    nonsense("a chunk of negative size", CHUNKED + b"-1\r\n"),
    nonsense("a chunk whose size overflows", CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n"),
    nonsense("a chunk longer than it says", CHUNKED + b"2\r\nokay\r\n0\r\n\r\n"),
    nonsense("a chunk with a bare LF", CHUNKED + b"2\nok\r\n0\r\n\r\n"),
    nonsense("bare LFs", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    nonsense("a bare LF in a header", ok(b"X: y\nContent-Length: 0")),
    nonsense("a bare CR in a header", ok(b"X: y\rContent-Length: 0")),
    nonsense("a bare CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n"),
    nonsense("a NUL in a header", ok(b"X: y\0z", b"Content-Length: 0")),
    nonsense("a space before the colon", ok(b"Content-Length : 0")),
    nonsense("a folded header", ok(b"X: y", b" z", b"Content-Length: 0")),
    succeeds("204 with a body", says(b"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\nbody")),
    succeeds("two answers", says(OK + OK)),
    succeeds("chunks from HTTP/1.0", says(CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n")),
    succeeds(
        "chunks from HTTP/1.0, to be kept",
        says(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ),
    fails("101", says(b"HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), ErrorType.HTTP_5XX),
]


# -- each of them -------------------------------------------------------------------------------------------
def url_of(receiver: Receiver, tls: object) -> str:
    return f"{'https' if tls else 'http'}://{HOST}:{receiver.port}/hook"


async def attempt(url: str, trusting: ssl.SSLContext, **options: object) -> Outcome:
    async with open_runner(resolver=Names(**NAMES), ssl_context=trusting, **options) as run:
        return await run_attempt(run, replace(delivery(url), timeout=TIMEOUT))


@pytest.fixture
def memory() -> Iterator[None]:
    """What the attempt and the receiver together take at most, of what Python takes."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < MOST_MEMORY


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
async def test_a_hostile_receiver_costs_one_attempt_and_its_connection(
    nursery: trio.Nursery,
    clock: MockClock,
    memory: None,
    trusting: ssl.SSLContext,
    tls: ssl.SSLContext | None,
    case: Case,
) -> None:
    receiver = await serve(nursery, case.script, tls)
    async with open_runner(resolver=Names(**NAMES), ssl_context=trusting) as run:
        began = trio.current_time()
        outcome = await run_attempt(run, replace(delivery(url_of(receiver, tls)), timeout=TIMEOUT))
        assert trio.current_time() - began == (TIMEOUT if case.kind is ErrorType.TIMEOUT else 0)
        case.check(outcome)
        if case.script is not never_reads:
            await receiver.ended()  # the connection went with the attempt, the runner is still there
    assert receiver.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest/meta-data/", "http://{}:{}/", "//{}:{}/", "/again"]
)
async def test_a_redirect_is_told_and_not_followed(
    nursery: trio.Nursery, clock: MockClock, trusting: ssl.SSLContext, status: int, location: str
) -> None:
    other = await serve(nursery, answering(OK))
    there = location.format("127.0.0.1", other.port).encode()
    answer = b"HTTP/1.1 %d There\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, there)
    receiver = await serve(nursery, answering(answer))
    outcome = await attempt(url_of(receiver, None), trusting)
    fails("", says(), ErrorType.REDIRECT, f"to {there.decode()}").check(outcome)
    assert (receiver.connections, len(receiver.requests), other.connections) == (1, 1, 0)


@pytest.mark.parametrize("wish", [b"9" * 30_000, b"9" * 18, b"Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_wish_for_a_pause_without_end_is_one_of_a_day_at_most(
    nursery: trio.Nursery, clock: MockClock, trusting: ssl.SSLContext, wish: bytes
) -> None:
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % wish
    receiver = await serve(nursery, answering(answer))
    outcome = await attempt(url_of(receiver, None), trusting)
    assert outcome.error_type is ErrorType.HTTP_5XX
    assert (outcome.retry_after or 0) <= 86_400


async def test_an_answer_that_nobody_asked_for_is_not_the_next_tasks(
    nursery: trio.Nursery, clock: MockClock, trusting: ssl.SSLContext, tls: ssl.SSLContext | None
) -> None:
    """The second task failed; an answer forged in between must not complete it."""
    forge, forged = trio.Event(), trio.Event()

    async def script(peer: Peer) -> None:
        first = not receiver.requests
        await peer.request()
        if first:
            await peer.say(OK)
            await forge.wait()
            await peer.say(OK)
            forged.set()
            await peer.request()
        await peer.say(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
        await peer.closed()

    receiver = await serve(nursery, script, tls)
    async with open_runner(resolver=Names(**NAMES), ssl_context=trusting) as run:
        first = await run_attempt(run, delivery(url_of(receiver, tls)))
        forge.set()
        await forged.wait()
        second = await run_attempt(run, delivery(url_of(receiver, tls)))
    assert (first.status, second.status) == (AttemptStatus.SUCCESS, AttemptStatus.FAILURE)
    assert receiver.connections == 2


async def test_one_that_closes_while_the_next_request_is_on_its_way_gets_it_once(
    nursery: trio.Nursery, clock: MockClock, trusting: ssl.SSLContext, tls: ssl.SSLContext | None
) -> None:
    """Nobody can tell whether it was read: the attempt is an error, and not made twice behind one's back."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.request()  # and without a word

    receiver = await serve(nursery, script, tls)
    async with open_runner(resolver=Names(**NAMES), ssl_context=trusting) as run:
        assert (await run_attempt(run, delivery(url_of(receiver, tls)))).succeeded
        breaks("", says()).check(await run_attempt(run, delivery(url_of(receiver, tls))))
    assert (receiver.connections, len(receiver.requests)) == (1, 2)


# -- TLS ----------------------------------------------------------------------------------------------------
def record(kind: int, body: bytes) -> bytes:
    return bytes([kind, 3, 3]) + len(body).to_bytes(2, "big") + body


def raw(said: bytes, then: str = "stays") -> Script:
    """Say this in place of a handshake."""

    async def script(peer: Peer) -> None:
        await peer.say(said)
        for _ in range(DRIPS if then == "drips" else 0):
            await trio.sleep(1)
            await peer.say(b"\0")
        for _ in range(FLOOD // len(said) if then == "floods" else 0):
            await peer.say(said)
        await (peer.reset() if then == "resets" else peer.close() if then == "closes" else peer.closed())

    return script


def no_tls(name: str, script: Script, told: str = "TLS with") -> Case:
    return Case(name, script, AttemptStatus.ERROR, ErrorType.TLS, told=told)


HANDSHAKES = [
    hangs("silent", raw(b"")),
    hangs("silent in a record", raw(record(22, b"\2\0\0\x50" + b"x" * 80)[:30])),
    hangs("a record that drips", raw(b"\x16\3\3\x40\0", "drips")),
    no_tls("noise", raw(bytes(range(256)))),
    no_tls("HTTP", raw(OK)),
    no_tls("an alert", raw(record(21, b"\2\x28"))),
    no_tls("data before the handshake", raw(record(23, b"x" * 100))),
    no_tls("a hello of nothing", raw(record(22, b"\2\0\0\0"))),
    no_tls("a message of 16 MiB", raw(record(22, b"\2\xff\xff\xff" + b"x" * 100))),
    no_tls("empty records without end", raw(record(22, b"") * 64, "floods")),
    no_tls("requests for a hello without end", raw(record(22, b"\0" * 16_000), "floods"), "says nothing"),
    no_tls("closed", raw(b"", "closes")),
    no_tls("closed in a record", raw(b"\x16\3\3\x40\0", "closes")),
    no_tls("reset", raw(b"", "resets")),
]


@pytest.mark.parametrize("case", HANDSHAKES, ids=lambda case: case.name.replace(" ", "_"))
async def test_a_handshake_that_is_none_ends_by_the_deadline(
    nursery: trio.Nursery, clock: MockClock, memory: None, trusting: ssl.SSLContext, case: Case
) -> None:
    receiver = await serve(nursery, case.script)
    began = trio.current_time()
    case.check(await attempt(url_of(receiver, "tls"), trusting))
    assert trio.current_time() - began == (TIMEOUT if case.kind is ErrorType.TIMEOUT else 0)
    await receiver.ended()


def certificates(authority: trustme.CA) -> dict[str, trustme.LeafCert]:
    long_ago = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    return {
        "unable to get local issuer certificate": trustme.CA().issue_cert(HOST),
        "certificate has expired": authority.issue_cert(
            HOST, not_before=long_ago, not_after=long_ago + datetime.timedelta(days=90)
        ),
        "certificate is not yet valid": authority.issue_cert(
            HOST, not_before=datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
        ),
        "Hostname mismatch": authority.issue_cert("*.receiver.example", "example", "127.0.0.1"),
    }


@pytest.mark.parametrize("told", certificates(trustme.CA()))
async def test_a_certificate_that_does_not_hold_gets_not_one_byte_of_the_request(
    nursery: trio.Nursery, clock: MockClock, authority: trustme.CA, trusting: ssl.SSLContext, told: str
) -> None:
    receiver = await serve(nursery, answering(OK), server_side(certificates(authority)[told]))
    outcome = await attempt(url_of(receiver, "tls"), trusting)
    Case("", says(), AttemptStatus.ERROR, ErrorType.TLS, told=told).check(outcome)
    assert receiver.requests == []
