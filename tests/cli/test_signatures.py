"""``aq secret``, ``sign`` and ``verify``: what is signed verifies, and a failure is told by its cause."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from aq.delivery.diagnosis import why_not
from aq.delivery.signing import PREFIX, Secret, parse_secrets, sign
from aq.instants import SECOND
from tests.cli.cli_world import aq

SECRET = PREFIX + b64encode(b"k" * 32).decode()
OTHER = PREFIX + b64encode(b"o" * 32).decode()
BODY = '{"task_id":"task_1","queue":"é","payload":{"n":1},"attempt":1}'
NOW = 1_769_851_800


def headers_of(body: str, *args: str) -> list[str]:
    """The headers that ``aq sign`` prints, as options of ``aq verify``."""
    signed = aq("sign", "--secret", SECRET, *args, given=body.encode())
    assert signed.code == 0
    return [word for line in signed.out.splitlines() for word in ("-H", line)]


def test_a_secret_is_one_and_another_each_time() -> None:
    made = {aq("secret").out.strip(), aq("secret", "--json").json["secret"]}
    assert len(made) == 2
    for secret in made:
        (parsed,) = parse_secrets(secret)
        assert len(parsed.key) == 32


def test_what_is_signed_verifies(tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text(BODY)
    headers = headers_of(BODY)
    for source in (["-d", BODY], [str(tmp_path / "body.json")]):
        ended = aq("verify", *source, "--secret", SECRET, *headers)
        assert (ended.code, ended.out) == (0, "the signature holds\n")
    assert aq("verify", "--json", *headers, given=BODY, AQ_SIGNING_SECRET=f"{OTHER},{SECRET}").json == {
        "valid": True
    }


def test_the_headers_are_those_of_a_delivery() -> None:
    ended = aq("sign", "--json", "--secret", SECRET, "--id", "task_2", "--at", str(NOW), "-d", BODY)
    assert ended.json == dict(sign(parse_secrets(SECRET), "task_2", NOW, BODY.encode()))


def test_what_does_not_hold_exits_1_and_says_why() -> None:
    ended = aq("verify", "-d", BODY, "--secret", OTHER, *headers_of(BODY))
    assert (ended.code, ended.out) == (1, "")
    assert "a different secret, or the body was changed" in ended.err
    ended = aq("verify", "--json", "-d", BODY + "\n", "--secret", SECRET, *headers_of(BODY))
    assert (ended.code, ended.out) == (1, "")
    assert ended.error["valid"] is False
    assert "line end" in ended.error["reason"]


@pytest.mark.parametrize("command", ["sign", "verify"])
def test_without_a_secret_or_with_a_wrong_one_it_is_wrong_usage(command: str) -> None:
    assert aq(command, "-d", BODY).code == 2
    ended = aq(command, "-d", BODY, "--secret", "whsec_s3cret")
    assert ended.code == 2
    assert "s3cret" not in ended.err
    assert aq("verify", "-d", BODY, "--secret", SECRET, "-H", "no colon").code == 2


def test_the_tolerance_can_be_given() -> None:
    headers = headers_of(BODY, "--at", str(int(time.time()) - 1_000))
    assert aq("verify", "-d", BODY, "--secret", SECRET, *headers).code == 1
    assert aq("verify", "-d", BODY, "--secret", SECRET, "--tolerance", "5000", *headers).code == 0


def parsed_again(body: bytes) -> bytes:
    return json.dumps(json.loads(body)).encode()


CHANGES: dict[str, tuple[Callable[[dict[str, str]], dict[str, str]], Callable[[bytes], bytes], str]] = {
    "a line end more": (dict, lambda body: body + b"\r\n", "got a line end"),
    "written anew": (dict, parsed_again, "parsed and written anew as JSON"),
    "another id": (lambda it: {**it, "webhook-id": "task_2"}, bytes, "x-asyncqueue-signature holds"),
    "another signature": (
        lambda it: {**it, "x-asyncqueue-signature": f"t={NOW},v1=00"},
        bytes,
        "webhook-signature holds",
    ),
    "unsigned": (lambda it: {}, bytes, "it has no webhook-signature header"),
    "no time": (lambda it: {**it, "webhook-timestamp": "soon"}, bytes, "has no Unix timestamp"),
    "other body": (dict, lambda body: b"{}", "a different secret, or the body was changed"),
}


@pytest.mark.parametrize(("to_headers", "to_body", "reason"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_on_the_way_is_found(
    to_headers: Callable[[dict[str, str]], dict[str, str]], to_body: Callable[[bytes], bytes], reason: str
) -> None:
    secrets, body = parse_secrets(SECRET), BODY.encode()
    headers = dict(sign(secrets, "task_1", NOW, body))
    assert why_not(headers, body, secrets, NOW * SECOND) is None
    told = why_not(to_headers(headers), to_body(body), secrets, NOW * SECOND)
    assert told is not None
    assert reason in told


@pytest.mark.parametrize(("late", "word"), [(301, "301 s ago"), (-7_200, "7,200 s ahead")])
def test_a_clock_that_is_wrong_is_told_by_how_much(late: int, word: str) -> None:
    secrets = parse_secrets(SECRET)
    headers = dict(sign(secrets, "task_1", NOW, b"{}"))
    told = why_not(headers, b"{}", secrets, (NOW + late) * SECOND)
    assert told is not None
    assert word in told


def test_a_body_that_was_signed_with_its_line_end_and_lost_it() -> None:
    secrets = parse_secrets(SECRET)
    headers = dict(sign(secrets, "task_1", NOW, b"{}\n"))
    told = why_not(headers, b"{}", secrets, NOW * SECOND)
    assert told is not None
    assert "lost the line end" in told


@pytest.mark.parametrize("text", [SECRET, SECRET.removeprefix(PREFIX)])
def test_a_secret_that_was_not_decoded(text: str) -> None:
    headers = dict(sign([Secret(text.encode())], "task_1", NOW, b"{}"))
    told = why_not(headers, b"{}", parse_secrets(SECRET), NOW * SECOND)
    assert told is not None
    assert "text of the secret" in told
