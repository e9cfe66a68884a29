"""What the service sends is believed and typed, what it did not send is refused with the reason."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from aq import NewTask, SignatureError, Webhook, open_engine, verify_webhook
from aq.client.webhooks import sign_webhook
from aq.sim import Arrival, SimulatedNetwork, answering, run
from aq.sim.clock import EPOCH, wall

SECRET, OTHER = (f"whsec_{b64encode(letter * 24).decode()}" for letter in (b"s", b"o"))
HOST = "https://shop.example"
AT = 1_800_000_000
BODY = '{"task_id":"task_1","queue":"q","payload":{"to":"é","n":123456789012345678901},"attempt":2}'.encode()


def delivered(*news: NewTask) -> list[Arrival]:
    """What arrives of these tasks and of their callbacks, which `HOST` answers with 200."""
    network = SimulatedNetwork()
    network.endpoints[HOST] = answering(200)

    async def main() -> None:
        async with open_engine(transport=network, signing_secrets=SECRET, wall=wall) as engine:
            for new in news:
                task = await engine.submit(new)
                await engine.wait(task.id)
            await trio.sleep(60)  # for callbacks

    run(0, main)
    return network.arrivals


def verified(arrival: Arrival) -> Webhook:
    return verify_webhook(dict(arrival.request.headers), arrival.request.body, SECRET, now=EPOCH)


def test_what_the_service_sends_is_read() -> None:
    (arrival,) = delivered(NewTask("q", f"{HOST}/x", {"to": "é", "n": 2**70}))
    webhook = verified(arrival)
    assert (webhook.id, webhook.task_id) == (arrival.task_id, arrival.task_id)
    assert (webhook.queue, webhook.attempt, webhook.event) == ("q", 1, None)
    assert webhook.payload == {"to": "é", "n": 2**70}
    assert abs(webhook.sent_at.timestamp() - EPOCH) <= 1
    assert "é" not in repr(webhook)


def test_a_get_has_no_body_and_is_known_by_its_signed_id() -> None:
    (arrival,) = delivered(NewTask("q", f"{HOST}/x", {"n": 1}, method="GET"))
    assert arrival.request.body == b""
    webhook = verified(arrival)
    assert (webhook.id, webhook.queue, webhook.attempt, webhook.payload) == (arrival.task_id, None, None, {})


def test_a_callback_has_its_event_and_the_task_as_it_ended() -> None:
    first, told = delivered(NewTask("q", f"{HOST}/x", {"n": 1}, callback_url=f"{HOST}/ended"))
    webhook = verified(told)
    assert webhook.id.startswith("cb_")
    assert (webhook.task_id, webhook.event, webhook.payload) == (first.task_id, "task.completed", {"n": 1})
    assert webhook.task is not None
    assert (webhook.task.status, [it.status for it in webhook.task.attempts]) == ("completed", ["success"])


def signed(body: bytes = BODY, *secrets: str, at: int = AT, webhook_id: str = "task_1") -> dict[str, str]:
    return sign_webhook(body, secrets or SECRET, webhook_id=webhook_id, now=at)


def test_any_case_of_headers_text_for_a_body_and_any_of_several_secrets_will_do() -> None:
    for secret in (SECRET, [SECRET], [OTHER, SECRET], f"{OTHER},{SECRET}"):
        headers = {name.title(): value for name, value in signed().items()}
        webhook = verify_webhook(headers, BODY.decode(), secret, now=AT)
        assert (webhook.task_id, webhook.attempt) == ("task_1", 2)
        assert webhook.sent_at == datetime.fromtimestamp(AT, UTC)
    both = signed(BODY, SECRET, OTHER)
    assert verify_webhook(both, BODY, OTHER, now=AT).task_id == "task_1"


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def test_each_scheme_alone_is_enough() -> None:
    for name in ("webhook-signature", "x-asyncqueue-signature"):
        webhook = verify_webhook(without(signed(), name), BODY, SECRET, now=AT)
        assert (webhook.id, webhook.sent_at.timestamp()) == ("task_1", AT)


def test_an_id_that_is_not_signed_is_not_believed() -> None:
    """Else one who caught a request could send it again as if it were another."""
    plain = without(signed(), "webhook-signature") | {"webhook-id": "task_2"}
    assert verify_webhook(plain, BODY, SECRET, now=AT).id == "task_1"
    bare = without(signed(b""), "webhook-signature") | {"webhook-id": "task_2"}
    with pytest.raises(SignatureError, match="webhook-id is not signed") as caught:
        verify_webhook(bare, b"", SECRET, now=AT)
    assert caught.value.reason == "malformed"


INDENTED = json.dumps(json.loads(BODY), indent=2, ensure_ascii=False).encode()
LISTED = b'["not", "ours"]'


@pytest.mark.parametrize(
    ("headers", "body", "at", "reason", "match"),
    [
        ({}, BODY, AT, "unsigned", "it has no webhook-signature header"),
        ({"webhook-signature": "v1,x"}, BODY, AT, "malformed", "no Unix timestamp"),
        (signed(), BODY, AT + 301, "clock", "signed 301 s ago, and 300 s are allowed"),
        (signed(), BODY, AT - 301, "clock", "signed 301 s ahead of this clock"),
        (signed(BODY, OTHER), BODY, AT, "mismatch", "a different secret, or the body was changed"),
        (signed(), BODY.replace(b"task_1", b"task_2"), AT, "mismatch", "a different secret, or the body"),
        (signed(), INDENTED, AT, "mismatch", "parsed and written anew as JSON: verify the raw bytes"),
        (signed(), BODY + b"\n", AT, "mismatch", "got a line end"),
        (signed() | {"webhook-id": "task_2"}, BODY, AT, "mismatch", "webhook-id, webhook-timestamp or"),
        (signed(LISTED), LISTED, AT, "malformed", "its body is none of ours"),
    ],
)
def test_what_does_not_hold_is_refused_with_the_reason(
    headers: dict[str, str], body: bytes, at: int, reason: str, match: str
) -> None:
    with pytest.raises(SignatureError, match=match) as caught:
        verify_webhook(headers, body, SECRET, now=at)
    assert caught.value.reason == reason
    assert caught.value.status == 401


def test_the_tolerance_is_yours() -> None:
    verify_webhook(signed(), BODY, SECRET, 3_600, now=AT + 3_600)
    with pytest.raises(SignatureError):
        verify_webhook(signed(), BODY, SECRET, 10, now=AT + 11)


def test_the_clock_is_the_machines_where_no_other_is_given() -> None:
    assert verify_webhook(sign_webhook(BODY, SECRET), BODY, SECRET).task_id == "task_1"
    with pytest.raises(SignatureError) as caught:
        verify_webhook(signed(), BODY, SECRET)
    assert caught.value.reason == "clock"


@pytest.mark.parametrize("secret", ["", "hush", "whsec_hush", [], [SECRET, "hush"]])
def test_what_is_no_secret_is_told_without_quoting_it(secret: Any) -> None:
    with pytest.raises(ValueError, match="whsec_") as caught:
        verify_webhook(signed(), BODY, secret, now=AT)
    assert "hush" not in str(caught.value)


def test_members_of_a_newer_service_are_no_error() -> None:
    body = BODY.replace(b'"attempt":2', b'"attempt":2,"region":"eu"')
    assert verify_webhook(signed(body), body, SECRET, now=AT).attempt == 2
