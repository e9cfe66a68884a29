from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from aq.delivery.signing import Secret, SignatureError, new_secret, parse_secrets, sign, verify
from aq.instants import SECOND

OLD, NEW = Secret(b"o" * 24), Secret(b"n" * 64)
AT = 1_700_000_000
BODY = '{"to":"é"}'.encode()


def signed(*secrets: Secret, at: int = AT, body: bytes = BODY) -> dict[str, str]:
    return dict(sign(secrets, "task_1", at, body))


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_the_reference_library_verifies_each_secret_of_a_rotation(secret: Secret) -> None:
    headers = signed(OLD, NEW, at=int(time.time()))
    assert Webhook(str(secret)).verify(BODY, headers) == json.loads(BODY)


def test_the_reference_library_refuses_another_secret() -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(str(NEW)).verify(BODY, signed(OLD, at=int(time.time())))


def test_both_schemes_by_hand() -> None:
    headers = signed(OLD, NEW)

    def mac(key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text + BODY, hashlib.sha256).digest()

    standard = [base64.b64encode(mac(it.key, b"task_1.1700000000.")).decode() for it in (OLD, NEW)]
    plain = [mac(it.key, b"1700000000.").hex() for it in (OLD, NEW)]
    assert headers == {
        "webhook-id": "task_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": f"v1,{standard[0]} v1,{standard[1]}",
        "x-asyncqueue-signature": f"t=1700000000,v1={plain[0]},v1={plain[1]}",
    }


@given(st.binary(max_size=200), st.sampled_from([OLD, NEW]), st.integers(-300, 300))
def test_what_is_signed_verifies_within_the_tolerance(body: bytes, secret: Secret, skew: int) -> None:
    headers = {name.upper(): value for name, value in signed(OLD, NEW, body=body).items()}
    verify(headers, body, [secret], (AT + skew) * SECOND)


@pytest.mark.parametrize("skew", [-301, 301])
def test_an_old_or_early_signature_is_refused(skew: int) -> None:
    with pytest.raises(SignatureError, match="300 seconds"):
        verify(signed(OLD), BODY, [OLD], (AT + skew) * SECOND)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"webhook-signature": "v1,AAAA", "x-asyncqueue-signature": None}, "does not match"),
        ({"webhook-signature": "v1,", "x-asyncqueue-signature": None}, "does not match"),
        ({"webhook-signature": "v1a,é", "x-asyncqueue-signature": None}, "does not match"),
        ({"webhook-id": "task_2"}, "does not match"),
        ({"webhook-id": None}, "does not match"),
        ({"webhook-timestamp": None}, "timestamp"),
        ({"webhook-timestamp": "1700000001"}, "does not match"),
        ({"webhook-timestamp": "٣"}, "timestamp"),
        ({"x-asyncqueue-signature": "t=1700000000,v1=00"}, "does not match"),
        ({"x-asyncqueue-signature": "nonsense"}, "timestamp"),
        ({"webhook-signature": None, "x-asyncqueue-signature": "t=1700000000"}, "does not match"),
        ({"webhook-signature": None, "x-asyncqueue-signature": None}, "not signed"),
    ],
)
def test_a_changed_header_is_refused(change: dict[str, str | None], match: str) -> None:
    headers = {name: value for name, value in {**signed(OLD), **change}.items() if value is not None}
    with pytest.raises(SignatureError, match=match):
        verify(headers, BODY, [OLD], AT * SECOND)


@pytest.mark.parametrize("gone", ["webhook-signature", "x-asyncqueue-signature"])
def test_one_scheme_is_enough(gone: str) -> None:
    headers = signed(OLD)
    del headers[gone]
    verify(headers, BODY, [NEW, OLD], AT * SECOND)
    with pytest.raises(SignatureError):
        verify(headers, BODY + b" ", [NEW, OLD], AT * SECOND)


def test_secrets_are_read_as_they_are_written() -> None:
    assert parse_secrets(f"{OLD}, {NEW}") == (OLD, NEW)
    assert parse_secrets(str(OLD)) == (OLD,)
    secret = new_secret(lambda count: b"r" * count)
    assert parse_secrets(str(secret)) == (secret,)
    assert "o" * 24 not in repr(OLD)
    assert str(OLD) not in repr(OLD)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "whsec_"),
        ("secret", "whsec_"),
        (f"{OLD},", "whsec_"),
        ("whsec_", "24 to 64"),
        ("whsec_!!!!", "base64"),
        ("whsec_abc", "base64"),
        (str(Secret(b"s" * 23)), "not 23"),
        (str(Secret(b"s" * 65)), "not 65"),
    ],
)
def test_a_wrong_secret_is_named_but_not_quoted(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        parse_secrets(text)
    assert len(text) < 9 or text not in str(caught.value)
