"""One attempt from end to end, as the engine makes it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx
import pytest
import trio
from msgspec.structs import replace
from standardwebhooks import Webhook
from trio.testing import wait_all_tasks_blocked

from aq.delivery.connect import MAX_LOOKUPS, SystemResolver, domain_of
from aq.delivery.protocol import Delivery, WebhookRequest
from aq.delivery.signing import Secret, SignatureError, verify
from aq.delivery.transport import HttpxTransport
from aq.delivery.webhook import body_of, open_webhook_runner
from aq.outcome import AttemptStatus, ErrorType
from aq.target import parse_target
from aq.task import Environment, Method, QueueKey
from aq.version import __version__

from .receiver import OK, answering, hang, serve
from .support import LOOPBACK, Names

SECRETS = [Secret(b"o" * 32), Secret(b"n" * 32)]
PAYLOAD = '{"to": "é",  "n": 1.0}'.encode()


def wall() -> int:
    return time.time_ns() // 1_000


def open_runner(**options: Any) -> Any:
    return open_webhook_runner(**{"secrets": SECRETS, "now": wall, "allow": LOOPBACK, **options})


def delivery(url: str) -> Delivery:
    return Delivery(
        task_id="task_0123456789ABCDEFGHJKMNPQRS",
        queue=QueueKey(Environment.LIVE, "e-mails.v1"),
        webhook_url=url,
        payload=PAYLOAD,
        attempt=3,
        timeout=30,
        due_at=0,
        started_at=0,
    )


async def test_what_a_receiver_gets(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with open_runner() as run:
        outcome = await run(replace(delivery(receiver.url), traceparent=traceparent))
        await run(delivery(receiver.url))
    assert outcome.succeeded
    assert (outcome.response_code, outcome.response_body) == (200, b"ok")
    assert outcome.timing is not None
    traced, plain = receiver.requests
    assert traced.line == "POST /hook HTTP/1.1"
    assert traced.body == (
        b'{"task_id":"task_0123456789ABCDEFGHJKMNPQRS","queue":"e-mails.v1","payload":'
        + PAYLOAD
        + b',"attempt":3}'
    )
    assert json.loads(traced.body)["payload"] == {"to": "é", "n": 1.0}
    assert traced.headers["content-type"] == "application/json"
    assert traced.headers["accept-encoding"] == "identity"
    assert traced.headers["user-agent"] == f"AsyncQueue/{__version__}"
    assert traced.headers["webhook-id"] == "task_0123456789ABCDEFGHJKMNPQRS"
    assert traced.headers["traceparent"] == traceparent
    assert "traceparent" not in plain.headers


async def test_the_receiver_can_verify_it(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    async with open_runner() as run:
        await run(delivery(receiver.url))
    (request,) = receiver.requests
    for secret in SECRETS:
        Webhook(str(secret)).verify(request.body, request.headers)
        verify(request.headers, request.body, [secret], wall())
    assert request.headers["x-asyncqueue-signature"].count("v1=") == 2


@pytest.mark.parametrize("method", [Method.POST, Method.PUT, Method.PATCH, Method.DELETE])
async def test_every_method_but_get_sends_the_usual_body(nursery: trio.Nursery, method: Method) -> None:
    receiver = await serve(nursery, answering(OK))
    async with open_runner() as run:
        assert (await run(replace(delivery(receiver.url), method=method))).succeeded
    (request,) = receiver.requests
    assert request.line == f"{method} /hook HTTP/1.1"
    assert request.body == body_of(delivery(receiver.url))
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.body))
    verify(request.headers, request.body, SECRETS, wall())


async def test_a_get_sends_no_body_and_signs_that(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    async with open_runner() as run:
        assert (await run(replace(delivery(receiver.url), method=Method.GET))).succeeded
    (request,) = receiver.requests
    assert (request.line, request.body) == ("GET /hook HTTP/1.1", b"")
    assert not request.headers.keys() & {"content-type", "content-length", "transfer-encoding"}
    for scheme in ("webhook-signature", "x-asyncqueue-signature"):
        signed = {name: value for name, value in request.headers.items() if "signature" not in name}
        verify({**signed, scheme: request.headers[scheme]}, b"", SECRETS, wall())


async def test_a_tasks_own_headers_follow_ours(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    own = (("authorization", "Bearer xyz"), ("x-empty", ""), ("a", "b, c\td"))
    async with open_runner() as run:
        for method in Method:
            await run(replace(delivery(receiver.url), headers=own, method=method, traceparent="00-1-2-01"))
    for request in receiver.requests:
        assert tuple(request.headers.items())[-3:] == own
        assert {"host", "webhook-id", "traceparent", "user-agent"} < request.headers.keys()
        assert request.headers["accept-encoding"] == "identity"


async def test_what_a_task_accepts_is_its_own_to_say(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    async with open_runner() as run:
        await run(replace(delivery(receiver.url), headers=(("accept-encoding", "br"),)))
    assert receiver.requests[0].headers["accept-encoding"] == "br"


async def test_a_queues_secrets_sign_in_place_of_the_services(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    own = (Secret(b"q" * 24), Secret(b"r" * 64))
    async with open_runner() as run:
        for secrets in (own, own[:1]):
            texts = tuple(map(str, secrets))
            await run(replace(delivery(receiver.url), signing_secrets=texts))
    both, one = receiver.requests
    for request, secrets in ((both, own), (one, own[:1])):
        for secret in secrets:
            Webhook(str(secret)).verify(request.body, request.headers)
            verify(request.headers, request.body, [secret], wall())
        assert request.headers["webhook-signature"].count("v1,") == len(secrets)
        with pytest.raises(SignatureError):
            verify(request.headers, request.body, SECRETS, wall())


@pytest.mark.parametrize("texts", [(), ("whsec_short",), ("nonsense",)])
async def test_nothing_leaves_without_a_signature(nursery: trio.Nursery, texts: tuple[str, ...]) -> None:
    receiver = await serve(nursery, answering(OK))
    async with open_runner() as run:
        with pytest.raises(ValueError, match="signing secret") as caught:
            await run(replace(delivery(receiver.url), signing_secrets=texts))
    assert receiver.connections == 0
    assert not any(text in str(caught.value) for text in texts)


async def test_a_callback_sends_its_payload_and_its_own_id(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    body = b'{"event":"task.completed", "task":{"n":1.00}}'
    callback = replace(delivery(receiver.url), task_id="cb_1", tells_of="task_1", payload=body)
    async with open_runner() as run:
        await run(callback)
    (request,) = receiver.requests
    assert request.body == body
    assert request.headers["webhook-id"] == "cb_1"
    assert request.headers["content-type"] == "application/json"
    verify(request.headers, body, SECRETS, wall())


def test_a_delivery_and_a_request_do_not_show_their_secrets() -> None:
    secret = str(SECRETS[0])
    shown = repr(replace(delivery("http://h/"), headers=(("a", "Bearer xyz"),), signing_secrets=(secret,)))
    shown += repr(WebhookRequest("POST", parse_target("http://h/"), [("a", "Bearer xyz")], b"Bearer xyz"))
    assert "xyz" not in shown
    assert secret not in shown


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
            ErrorType.REDIRECT,
        ),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", ErrorType.GONE),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", ErrorType.HTTP_5XX),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", ErrorType.HTTP_429),
    ],
)
async def test_a_failure_is_told_and_nothing_is_followed(
    nursery: trio.Nursery, answer: bytes, kind: ErrorType
) -> None:
    receiver = await serve(nursery, answering(answer))
    async with open_runner() as run:
        outcome = await run(delivery(receiver.url))
    assert (outcome.status, outcome.error_type) == (AttemptStatus.FAILURE, kind)
    assert outcome.retry_after == (7 if kind is ErrorType.HTTP_429 else None)
    assert (receiver.connections, len(receiver.requests)) == (1, 1)


async def test_a_destination_that_is_not_allowed_is_blocked(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    names = Names(receiver_example=[["127.0.0.1"]])
    async with open_runner(allow=(), resolver=names) as run:
        for host in ("127.0.0.1", "localhost", "receiver.example"):
            outcome = await run(delivery(f"http://{host}:{receiver.port}/"))
            assert (outcome.status, outcome.error_type) == (AttemptStatus.BLOCKED, ErrorType.BLOCKED)
            assert "loopback" in (outcome.error or "")
    assert receiver.connections == 0


async def test_no_answer_is_an_outcome_too(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(b"garbage\r\n\r\n"))
    async with open_runner(resolver=Names()) as run:
        broken = await run(delivery(receiver.url))
        unknown = await run(delivery("http://nowhere.example/"))
    assert (broken.status, broken.error_type) == (AttemptStatus.ERROR, ErrorType.RESET)
    assert (unknown.status, unknown.error_type) == (AttemptStatus.ERROR, ErrorType.DNS)


async def test_the_deadline_is_the_callers(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, hang)
    outcomes = []
    async with open_runner() as run, trio.open_nursery() as inner:

        @inner.start_soon
        async def _() -> None:
            outcomes.append(await run(delivery(receiver.url)))

        await receiver.asked.wait()
        inner.cancel_scope.cancel()
    await receiver.ended()
    assert outcomes == []


async def test_any_httpx_transport_can_stand_in_and_the_guard_still_reads_urls() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["webhook-signature"])
        return httpx.Response(204)

    async with open_runner(allow=(), transport=HttpxTransport(httpx.MockTransport(handler))) as run:
        assert (await run(delivery("https://receiver.example/"))).succeeded
        assert (await run(delivery("https://[::1]/"))).error_type is ErrorType.BLOCKED
    assert len(seen) == 1


async def test_the_systems_resolver_knows_localhost_and_no_nonsense(nursery: trio.Nursery) -> None:
    receiver = await serve(nursery, answering(OK))
    async with open_runner() as run:
        assert (await run(delivery(f"http://localhost:{receiver.port}/"))).succeeded
        outcome = await run(delivery(f"http://{'x' * 64}..localhost:{receiver.port}/"))
    assert outcome.error_type is ErrorType.DNS


async def test_names_of_one_domain_that_are_looked_up_without_end_leave_room_for_others() -> None:
    """Who runs a domain can make its look-ups hang, and has as many names in it as there are tasks."""
    answer = threading.Event()

    def slow(host: str, port: int) -> list[str]:
        if "hostile" in host:
            assert answer.wait(20)
        return ["192.0.2.1"]

    resolver = SystemResolver(slow)
    async with trio.open_nursery() as nursery:
        for number in range(10 * MAX_LOOKUPS):
            nursery.start_soon(resolver, f"h{number}.x{number}.hostile.example.", 80)
        await wait_all_tasks_blocked()
        with trio.fail_after(10):
            assert await resolver("healthy.example", 80) == ["192.0.2.1"]
            assert await resolver("localhost", 80) == ["192.0.2.1"]
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:  # given up, they still hold what they held
        for number in range(10 * MAX_LOOKUPS):
            nursery.start_soon(resolver, f"h{number}.hostile.example", 80)
        await wait_all_tasks_blocked()
        with trio.fail_after(10):
            assert await resolver("healthy.example", 80) == ["192.0.2.1"]
        nursery.cancel_scope.cancel()
    answer.set()
    assert await resolver("x.hostile.example", 80) == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("a.b.example.com", "example.com"),
        ("example.com.", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("b.abc.io", "abc.io"),
        ("co.uk", "co.uk"),
        ("localhost", "localhost"),
        ("a.ns.svc.cluster.local", "a.ns.svc.cluster.local"),
    ],
)
def test_who_shares_a_domain(host: str, domain: str) -> None:
    assert domain_of(host) == domain


async def test_look_ups_are_bounded_and_can_be_abandoned() -> None:
    begun, answer = threading.Semaphore(0), threading.Event()
    waited_in_vain: list[str] = []

    def slow(host: str, port: int) -> list[str]:
        begun.release()
        if not answer.wait(5):
            waited_in_vain.append(host)
        return [host]

    resolver, apart = SystemResolver(slow), trio.CapacityLimiter(1)
    async with trio.open_nursery() as nursery:
        for number in range(MAX_LOOKUPS + 10):
            nursery.start_soon(resolver, f"h.d{number}.example", 80)
        for _ in range(MAX_LOOKUPS):
            assert await trio.to_thread.run_sync(begun.acquire, True, 5, limiter=apart)
        await wait_all_tasks_blocked(0.01)
        assert not begun.acquire(blocking=False)
        nursery.cancel_scope.cancel()
    assert waited_in_vain == []
    answer.set()
