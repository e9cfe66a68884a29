"""Where an attempt's time goes, to the millisecond: receivers and resolvers here move the clock."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence

import httpx
import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from aq.delivery.connect import default_ssl_context
from aq.delivery.protocol import DeliveryError
from aq.delivery.stopwatch import Stopwatch
from aq.delivery.transport import HttpxTransport
from aq.outcome import AttemptStatus, ErrorType, Timing

from .receiver import OK, Peer, hang, serve
from .support import Names, open_transport, post
from .test_webhook import delivery, open_runner

HOST = "receiver.example"


class SlowNames(Names):
    """Takes three seconds."""

    def __init__(self, clock: MockClock, *addresses: str) -> None:
        super().__init__(receiver_example=[list(addresses)])
        self._clock = clock

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self._clock.jump(3)
        return await super().__call__(host, port)


async def failure(
    url: str, clock: MockClock, *addresses: str, tls: ssl.SSLContext | None = None
) -> DeliveryError:
    names = SlowNames(clock, *addresses)
    async with open_transport(resolver=names, ssl_context=tls, patience=60) as transport:
        with pytest.raises(DeliveryError) as caught:
            await transport.send(post(url))
    return caught.value


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


# -- what is measured of an answer --------------------------------------------------------------------------
async def test_of_a_fresh_and_of_a_kept_connection(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    async def slow(peer: Peer) -> None:
        while await peer.request():
            mock_clock.jump(4)
            await peer.say(OK[:-1])
            await wait_all_tasks_blocked()
            mock_clock.jump(1)
            await peer.say(OK[-1:])

    receiver = await serve(nursery, slow)
    async with open_transport(resolver=SlowNames(mock_clock, "127.0.0.1"), patience=60) as transport:
        url = f"http://{HOST}:{receiver.port}/"
        timings = [(await transport.send(post(url))).timing for _ in range(2)]
        literal = (await transport.send(post(f"http://127.0.0.1:{receiver.port}/"))).timing
    assert timings == [
        Timing(dns=3_000, connect=0, ttfb=4_000, total=8_000),
        Timing(ttfb=4_000, total=5_000),
    ]
    assert literal == Timing(connect=0, ttfb=4_000, total=5_000)


# -- what is measured of a failure --------------------------------------------------------------------------
async def test_of_a_name_that_does_not_resolve(mock_clock: MockClock) -> None:
    error = await failure("http://nowhere.example/", mock_clock)
    assert (error.error_type, error.timing) == (ErrorType.DNS, Timing(dns=3_000, total=3_000))


async def test_of_a_name_that_leads_to_a_place_not_allowed(mock_clock: MockClock) -> None:
    error = await failure(f"http://{HOST}/", mock_clock, "10.0.0.1")
    assert (error.error_type, error.timing) == (ErrorType.BLOCKED, Timing(dns=3_000, total=3_000))


async def test_of_a_connection_refused(mock_clock: MockClock, closed_port: int) -> None:
    error = await failure(f"http://{HOST}:{closed_port}/", mock_clock, "127.0.0.1")
    assert error.error_type is ErrorType.CONNECT
    assert error.timing == Timing(dns=3_000, connect=0, total=3_000)


async def test_of_tls_that_fails(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    async def plain(peer: Peer) -> None:
        mock_clock.jump(2)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.closed()

    receiver = await serve(nursery, plain)
    error = await failure(
        f"https://{HOST}:{receiver.port}/", mock_clock, "127.0.0.1", tls=default_ssl_context()
    )
    assert error.error_type is ErrorType.TLS
    assert error.timing == Timing(dns=3_000, connect=0, tls=2_000, total=5_000)


@pytest.mark.parametrize(
    ("said", "ttfb"), [(b"", None), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 4_000)]
)
async def test_of_an_answer_that_breaks_off(
    nursery: trio.Nursery, mock_clock: MockClock, said: bytes, ttfb: int | None
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        mock_clock.jump(4)
        await peer.say(said)
        await wait_all_tasks_blocked()
        mock_clock.jump(1)
        await peer.reset()

    receiver = await serve(nursery, script)
    error = await failure(f"http://{HOST}:{receiver.port}/", mock_clock, "127.0.0.1")
    assert error.error_type is ErrorType.RESET
    assert error.timing == Timing(dns=3_000, connect=0, ttfb=ttfb, total=8_000)


async def test_of_a_failure_over_a_kept_connection(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.request()
        mock_clock.jump(4)

    receiver = await serve(nursery, once)
    async with open_transport(patience=60) as transport:
        await transport.send(post(receiver.url))
        with pytest.raises(DeliveryError) as caught:
            await transport.send(post(receiver.url))
    assert caught.value.timing == Timing(total=4_000)


async def test_an_outcome_without_an_answer_has_it_too(mock_clock: MockClock, closed_port: int) -> None:
    async with open_runner(resolver=SlowNames(mock_clock, "127.0.0.1")) as run:
        outcome = await run(delivery(f"http://{HOST}:{closed_port}/"))
        blocked = await run(delivery("http://10.0.0.1/"))
    assert (outcome.status, outcome.timing) == (
        AttemptStatus.ERROR,
        Timing(dns=3_000, connect=0, total=3_000),
    )
    assert blocked.timing is None  # it never began


# -- what is left of one that is cut off --------------------------------------------------------------------
async def cut(
    url: str, clock: MockClock, resolver: Names, ssl_context: ssl.SSLContext | None = None
) -> Timing | None:
    """As `aq.actors.runner` does: a deadline around the runner, that comes when all stands still."""
    attempt = delivery(url)
    async with open_runner(resolver=resolver, ssl_context=ssl_context) as run, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            with trio.move_on_after(attempt.timeout) as deadline:
                await run(attempt)
            assert deadline.cancelled_caught

        await wait_all_tasks_blocked(0.01)
        clock.jump(attempt.timeout)
    return attempt.stopwatch.timing()


async def test_a_deadline_leaves_what_was_measured(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    receiver = await serve(nursery, hang)
    timing = await cut(f"http://{HOST}:{receiver.port}/", mock_clock, SlowNames(mock_clock, "127.0.0.1"))
    assert timing == Timing(dns=3_000, connect=0, total=33_000)


async def test_a_deadline_in_the_middle_of_a_look_up(mock_clock: MockClock) -> None:
    class Never(Names):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            await trio.sleep_forever()

    assert await cut(f"http://{HOST}/", mock_clock, Never()) == Timing(dns=30_000, total=30_000)


async def test_a_deadline_in_the_middle_of_tls(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    async def silent(peer: Peer) -> None:
        await peer.closed()

    receiver = await serve(nursery, silent)
    url = f"https://127.0.0.1:{receiver.port}/"
    timing = await cut(url, mock_clock, Names(), default_ssl_context())
    assert timing == Timing(connect=0, tls=30_000, total=30_000)


async def test_a_deadline_before_the_end_of_a_body(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    async def half(peer: Peer) -> None:
        await peer.request()
        mock_clock.jump(4)
        await peer.say(OK[:-1])
        await peer.closed()

    receiver = await serve(nursery, half)
    timing = await cut(receiver.url, mock_clock, Names())
    assert timing == Timing(connect=0, ttfb=4_000, total=34_000)


async def test_what_the_steps_of_tls_took(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    authority, server, client = (
        trustme.CA(),
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        default_ssl_context(),
    )
    authority.issue_cert(HOST).configure_cert(server)
    authority.configure_trust(client)

    async def slow(peer: Peer) -> None:
        while await peer.request():
            mock_clock.jump(4)
            await peer.say(OK)

    receiver = await serve(nursery, slow, server)
    names = SlowNames(mock_clock, "127.0.0.1")
    async with open_transport(resolver=names, ssl_context=client, patience=60) as transport:
        url = f"https://{HOST}:{receiver.port}/"
        timings = [(await transport.send(post(url))).timing for _ in range(2)]
    assert timings == [
        Timing(dns=3_000, connect=0, tls=0, ttfb=4_000, total=7_000),
        Timing(ttfb=4_000, total=4_000),
    ]


async def test_a_stopwatch_measures_one_exchange_at_a_time(mock_clock: MockClock) -> None:
    stopwatch = Stopwatch()
    assert stopwatch.timing() is None
    stopwatch.start()
    stopwatch.begin("dns")
    mock_clock.jump(1)
    assert stopwatch.timing() == Timing(dns=1_000, total=1_000)
    mock_clock.jump(1)
    assert stopwatch.timing() == Timing(dns=2_000, total=2_000)
    stopwatch.answered(0)
    stopwatch.start()
    mock_clock.jump(1)
    assert stopwatch.timing() == Timing(total=1_000)


# -- over httpx ---------------------------------------------------------------------------------------------
async def test_an_httpx_transport_tells_first_byte_and_total(mock_clock: MockClock) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        mock_clock.jump(4)
        return httpx.Response(200, stream=Body(lambda: mock_clock.jump(1)))

    response = await HttpxTransport(httpx.MockTransport(handler)).send(post("http://h/"))
    assert response.timing == Timing(ttfb=4_000, total=5_000)


async def test_an_httpx_failure_tells_what_there_was(mock_clock: MockClock) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        mock_clock.jump(4)
        raise httpx.ConnectError("no")

    def break_off() -> None:
        mock_clock.jump(1)
        raise httpx.ReadError("broke")

    def answer(_: httpx.Request) -> httpx.Response:
        mock_clock.jump(4)
        return httpx.Response(200, stream=Body(break_off))

    told = []
    for handler in (refuse, answer):
        with pytest.raises(DeliveryError) as caught:
            await HttpxTransport(httpx.MockTransport(handler)).send(post("http://h/"))
        told.append(caught.value.timing)
    assert told == [Timing(total=4_000), Timing(ttfb=4_000, total=5_000)]


class Body(httpx.AsyncByteStream):
    def __init__(self, before: Callable[[], None]) -> None:
        self._before = before

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        self._before()
        yield b"ok"
