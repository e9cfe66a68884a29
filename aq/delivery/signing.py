"""The signatures on a webhook, and how its receiver verifies them. Pure.

Two schemes, keyed alike, on every request:

- Standard Webhooks (standardwebhooks.com): ``webhook-id``, ``webhook-timestamp`` in Unix seconds, and
  ``webhook-signature``, over ``<id>.<timestamp>.<body>``: a ``v1,<base64>`` for each secret, spaces between.
- ``X-AsyncQueue-Signature: t=<unix seconds>,v1=<hex>``, one ``v1=`` for each secret, over ``<t>.<body>``.

Both are HMAC-SHA256. The key is what stands base64-encoded behind ``whsec_``. While secrets rotate, all sign.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from attrs import field, frozen

from aq.errors import AsyncQueueError
from aq.instants import SECOND, Instant

PREFIX: Final = "whsec_"
LEAST_BYTES: Final = 24
MOST_BYTES: Final = 64
NEW_SECRET_BYTES: Final = 32
TOLERANCE: Final = 300
"""Seconds that a signature may be older or newer than the receiver's clock; usual with Standard Webhooks."""


class Wrong(StrEnum):
    """What is wrong with a signature."""

    UNSIGNED = "unsigned"
    """There is none."""
    MALFORMED = "malformed"
    """It cannot be read, or what it signs is none of our requests."""
    CLOCK = "clock"
    """It is too old or too new: a clock is wrong, or an old request came again."""
    MISMATCH = "mismatch"
    """It was made with another secret, or what it signs was changed."""


class SignatureError(AsyncQueueError):
    """A request does not carry a signature that holds. For receivers. ``reason`` is for programs."""

    status = 401
    title = "Bad signature"

    def __init__(self, message: str, reason: Wrong) -> None:
        self.reason = reason
        super().__init__(message)


@frozen
class Secret:
    """A decoded signing secret. Its key is in no repr, so it is in no log."""

    key: bytes = field(repr=False)
    _keyed: hmac.HMAC = field(init=False, repr=False, eq=False)

    @_keyed.default
    def _key_once(self) -> hmac.HMAC:
        return hmac.new(self.key, digestmod="sha256")

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA256. To copy what is keyed is quicker than to key anew, and keeps Python's lock."""
        mac = self._keyed.copy()
        mac.update(message)
        return mac.digest()

    def __str__(self) -> str:
        """As users write it: ``whsec_…``. A secret: never log it."""
        return PREFIX + b64encode(self.key).decode()


def parse_secrets(text: str) -> tuple[Secret, ...]:
    """The secrets in ``whsec_…`` or ``whsec_…,whsec_…``. Raises ValueError, without quoting any."""
    return tuple(_parse_secret(part.strip()) for part in text.split(","))


def new_secret(random_bytes: Callable[[int], bytes]) -> Secret:
    """A fresh secret of 32 bytes; ``random_bytes(n)`` must be fit for keys, as `secrets.token_bytes` is."""
    return Secret(random_bytes(NEW_SECRET_BYTES))


def sign(secrets: Sequence[Secret], message_id: str, timestamp: int, body: bytes) -> list[tuple[str, str]]:
    """The signature headers of one request. ``timestamp`` is in Unix seconds."""
    dated = b"%d.%b" % (timestamp, body)
    named = b"%b.%b" % (message_id.encode(), dated)
    standard = [f"v1,{binascii.b2a_base64(it.mac(named), newline=False).decode()}" for it in secrets]
    plain = [f",v1={it.mac(dated).hex()}" for it in secrets]
    return [
        ("webhook-id", message_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(standard)),
        ("x-asyncqueue-signature", f"t={timestamp}{''.join(plain)}"),
    ]


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[Secret],
    now: Instant,
    tolerance: int = TOLERANCE,
) -> None:
    """Raises SignatureError unless one of ``secrets`` signed this, within ``tolerance`` seconds of ``now``.

    Every scheme whose header is there must hold, and one must be. ``body`` is the raw bytes as received;
    header names may be in any case.
    """
    found = {name.lower(): value for name, value in headers.items()}
    schemes = [
        verifier
        for name, verifier in (
            ("webhook-signature", _verify_standard),
            ("x-asyncqueue-signature", _verify_plain),
        )
        if name in found
    ]
    if not schemes:
        raise SignatureError("the request is not signed: it has no webhook-signature header", Wrong.UNSIGNED)
    for verifier in schemes:
        verifier(found, body, secrets, now, tolerance)


def _verify_standard(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: Instant, tolerance: int
) -> None:
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    _check_time(timestamp, now, tolerance, "webhook-timestamp")
    signed = f"{message_id}.{timestamp}.".encode() + body
    given = [
        part.removeprefix("v1,") for part in headers["webhook-signature"].split(" ") if part[:3] == "v1,"
    ]
    expected = [b64encode(secret.mac(signed)).decode() for secret in secrets]
    _check_match(given, expected, "webhook-signature")


def _verify_plain(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: Instant, tolerance: int
) -> None:
    parts = [part.partition("=") for part in headers["x-asyncqueue-signature"].split(",")]
    timestamp = next((value for name, _, value in parts if name == "t"), "")
    _check_time(timestamp, now, tolerance, "x-asyncqueue-signature")
    signed = f"{timestamp}.".encode() + body
    given = [value for name, _, value in parts if name == "v1"]
    _check_match(given, [secret.mac(signed).hex() for secret in secrets], "x-asyncqueue-signature")


def _check_time(timestamp: str, now: Instant, tolerance: int, header: str) -> None:
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= len(str(1 << 63))):
        raise SignatureError(f"{header} has no Unix timestamp", Wrong.MALFORMED)
    if abs(now / SECOND - int(timestamp)) > tolerance:
        raise SignatureError(
            f"{header} is over {tolerance} seconds old or ahead: check the clock, or a replay", Wrong.CLOCK
        )


def _check_match(given: Sequence[str], expected: Sequence[str], header: str) -> None:
    matches = [hmac.compare_digest(it.encode(), ours.encode()) for it in given for ours in expected]
    if not any(matches):
        raise SignatureError(
            f"{header} does not match: a different secret, or the body was changed", Wrong.MISMATCH
        )


def _parse_secret(text: str) -> Secret:
    if not text.startswith(PREFIX):
        raise ValueError("a signing secret must begin with whsec_ (several with commas between)")
    try:
        key = b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a signing secret must be base64 after whsec_") from None
    if not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(
            f"a signing secret must hold {LEAST_BYTES} to {MOST_BYTES} bytes after whsec_, not {len(key)}"
        )
    return Secret(key)
