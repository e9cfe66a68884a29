"""Why a signature does not hold, as far as that can be found out. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from aq.delivery.signing import PREFIX, TOLERANCE, Secret, SignatureError, verify
from aq.instants import SECOND, Instant

_NAMES: Final = ("webhook-signature", "x-asyncqueue-signature")


def why_not(
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[Secret],
    now: Instant,
    tolerance: int = TOLERANCE,
) -> str | None:
    """None when `aq.delivery.signing.verify` is content; else its reason, or a nearer one that was found."""
    try:
        verify(headers, body, secrets, now, tolerance)
    except SignatureError as error:
        return _near(_lower(headers), body, secrets, now, tolerance) or str(error)
    return None


def _near(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: Instant, tolerance: int
) -> str | None:
    """What was changed, if one of the usual mistakes explains it."""
    if (age := _age(headers, now)) is None:
        return None
    then = now - age * SECOND
    if _holds(headers, body, secrets, then):
        when = "ago" if age > 0 else "ahead of this clock"
        return (
            f"it was signed {abs(age):,} s {when}, and {tolerance} s are allowed: one of the clocks is wrong,"
            " or an old request came again"
        )
    for name in _NAMES:
        alone = {key: value for key, value in headers.items() if key not in _NAMES or key == name}
        if name in headers and _holds(alone, body, secrets, then):
            return _one_scheme_holds(name)
    for what, changed in _bodies(body):
        if changed != body and _holds(headers, changed, secrets, then):
            return f"{what}: verify the raw bytes of the request"
    if _holds(headers, body, _misread(secrets), then):
        return "it was signed with the text of the secret; the key is what stands base64-encoded after whsec_"
    return None


def _one_scheme_holds(name: str) -> str:
    if name == "x-asyncqueue-signature":
        return "webhook-id, webhook-timestamp or webhook-signature was changed; x-asyncqueue-signature holds"
    return "x-asyncqueue-signature was changed; webhook-signature holds"


def _bodies(body: bytes) -> Iterator[tuple[str, bytes]]:
    """What the body may have been before somebody changed it."""
    yield "the body got a line end that was not signed", body.rstrip(b"\r\n")
    yield "the body lost the line end that was signed", body + b"\n"
    yield "the line ends of the body were changed", body.replace(b"\n", b"\r\n")
    yield "the line ends of the body were changed", body.replace(b"\r\n", b"\n")
    try:
        value = json.loads(body)
    except ValueError:
        return
    for separators in ((",", ":"), (", ", ": ")):
        for ascii_only in (False, True):
            text = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
            yield "the body was parsed and written anew as JSON", text.encode("utf-8", "surrogatepass")


def _misread(secrets: Sequence[Secret]) -> list[Secret]:
    texts = [str(secret) for secret in secrets]
    return [Secret(text.encode()) for whole in texts for text in (whole, whole.removeprefix(PREFIX))]


def _holds(headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: Instant) -> bool:
    try:
        verify(headers, body, secrets, now)
    except SignatureError:
        return False
    return True


def _age(headers: Mapping[str, str], now: Instant) -> int | None:
    """Seconds since the time that the request says it was signed at."""
    plain = dict(part.partition("=")[::2] for part in headers.get("x-asyncqueue-signature", "").split(","))
    given = headers.get("webhook-timestamp") or plain.get("t", "")
    return now // SECOND - int(given) if given.isascii() and given.isdecimal() and len(given) < 16 else None


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
