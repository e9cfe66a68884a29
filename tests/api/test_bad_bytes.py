"""Everything about a request that is no HTTP, or too much of it, against a live server.

Each form is sent with a good request right behind it on the same connection. It is refused with a problem
document, the connection is closed, what was behind is not begun, nothing is stored, and the next connection
is served.
"""

from __future__ import annotations

import gzip

import pytest

from benchmarks.fuzz.exchange import Answer
from tests.api import test_framing, test_wire
from tests.api.door import HEADERS, TASK, Door, open_door, post

pytestmark = pytest.mark.usefixtures("both_doors")

CHUNKED = b"POST /v1/tasks HTTP/1.1\r\n" + HEADERS + b"Transfer-Encoding: chunked\r\n"


def headed(lines: bytes, body: bytes = TASK) -> bytes:
    """A task with more lines in its head, and no Content-Length of ours."""
    return b"POST /v1/tasks HTTP/1.1\r\n" + HEADERS + lines + b"\r\n" + body


def encoded(value: bytes) -> bytes:
    """A task that would be read as chunks by whoever believes the header."""
    return headed(b"Transfer-Encoding" + value + b"\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(TASK), TASK))


def targeted(target: bytes) -> bytes:
    return post(TASK, b"", path=target)


SMUGGLING = {
    "two lengths": post(TASK, b"Content-Length: 3\r\n"),
    "the same length twice": post(TASK, b"Content-Length: %d\r\n" % len(TASK)),
    "length and chunks": post(b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n"),
    "chunks and no chunks": encoded(b": chunked, identity"),
    "no chunks and chunks": encoded(b": identity, chunked"),
    "nearly chunked": encoded(b": xchunked"),
    "quoted": encoded(b': "chunked"'),
    "with a parameter": encoded(b": chunked;q=1"),
    "vertical tab": encoded(b": \x0bchunked"),
    "two encodings": encoded(b": chunked\r\nTransfer-Encoding: identity"),
    "space before the colon": encoded(b" : chunked"),
    "tab before the colon": encoded(b"\t: chunked"),
    "on the next line": encoded(b":\r\n chunked"),
    "behind a bare LF": headed(b"X: y\nTransfer-Encoding: chunked\r\n"),
    "behind a bare CR": headed(b"X: y\rTransfer-Encoding: chunked\r\n"),
    "behind a NUL": headed(b"X: y\0Transfer-Encoding: chunked\r\n"),
    "folded": post(TASK, b"X-A: b\r\n c\r\n"),
    "without a colon": post(TASK, b"Transfer-Encoding chunked\r\n"),
    "without a name": post(TASK, b": chunked\r\n"),
    "name of two words": post(TASK, b"Transfer Encoding: chunked\r\n"),
    "name that is not ASCII": post(TASK, "Tränsfer: chunked\r\n".encode()),
    "chunks in HTTP/1.0": encoded(b": chunked").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "authority as the target": targeted(b"a:80"),
    "asterisk as the target": targeted(b"*"),
    "no target": targeted(b""),
    "word as the target": targeted(b"v1/tasks"),
    "user in the target": targeted(b"http://a@b/v1/tasks"),
    "other scheme": targeted(b"ftp://a/v1/tasks"),
    "fragment": targeted(b"/v1/tasks#x"),
    "blank in the target": targeted(b"/v1/tasks x"),
    "tab in the target": targeted(b"/v1/tasks\tx"),
    "NUL in the target": targeted(b"/v1/tasks\0"),
    "target that is not ASCII": targeted("/v1/täsks".encode()),
    "HTTP/0.9": b"POST /v1/tasks\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    "HTTP/1.2": post(TASK).replace(b"HTTP/1.1", b"HTTP/1.2", 1),
    "HTTP/11": post(TASK).replace(b"HTTP/1.1", b"HTTP/11", 1),
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(range(256)),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "garbage": bytes(range(128, 256)) * 9,
    "an LF first": b"\n" + post(TASK),
}
LARGE = {
    "2,000 headers": (headed(b"X: y\r\n" * 2_000), 431),
    "101 headers": (headed(b"X: y\r\n" * 98), 431),
    "a header of 64 KiB": (headed(b"X: " + b"y" * (64 << 10) + b"\r\n"), 431),
    "a target of 64 KiB": (targeted(b"/" + b"y" * (64 << 10)), 431),
    "a method of 64 KiB": (b"Y" * (64 << 10) + post(TASK), 431),
    "4 MiB of headers in a burst": (headed(b"Name: value\r\n" * 320_000), 431),
    "4 MiB of one header": (headed(b"X: " + b"y" * (4 << 20)), 431),
    "body over 1 MiB": (post(b" " * (1 << 20) + TASK, b""), 413),
    "body over 1 MiB, not sent": (headed(b"Content-Length: 1048577\r\n", b""), 413),
    "length of 2^63": (headed(b"Content-Length: 9223372036854775808\r\n"), 400),
    "body over 1 MiB in chunks": (CHUNKED + b"\r\n" + b"80000\r\n%b\r\n" % (b" " * 0x80000) * 3, 413),
    "very many chunks": (CHUNKED + b"\r\n" + b"1\r\n \r\n" * 10_001, 413),
}
FORMS = {
    **{name: (data, 400) for name, data in SMUGGLING.items()},
    **{name: (data, 400) for name, data in test_wire.MALFORMED.items()},
    **{f"chunk: {name}": (CHUNKED + b"\r\n" + data, 400) for name, data in test_framing.MALFORMED.items()},
    **{f"chunk: {name}": (CHUNKED + b"\r\n" + data, 431) for name, data in test_framing.LARGE.items()},
    **LARGE,
}


async def refused(door: Door, data: bytes, status: int) -> None:
    """Sent alone, and behind a good request: whatever is behind it is not begun."""
    for before, due in ((b"", 1), (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 2)):
        answers = await door.exchange(before + data + post(TASK))
        assert len(answers) == due, (data[:300], [answer.status for answer in answers])
        check_refusal(answers[-1], status)


def check_refusal(answer: Answer, status: int) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"]
    assert answer.json["status"] == status
    assert answer.json["error"]


@pytest.mark.parametrize("names", [list(FORMS)[start::8] for start in range(8)], ids=lambda names: names[0])
async def test_what_is_no_request_is_refused_and_stores_nothing(names: list[str]) -> None:
    async with open_door() as door:
        before = door.stored()
        for name in names:
            data, status = FORMS[name]
            await refused(door, data, status)
            assert door.stored() == before, name
        (answer,) = await door.exchange(post(TASK))
        assert answer.status == 201
        assert door.stored() != before


PATHS = [
    *("//v1/tasks", "///v1/tasks", "/%2fv1/tasks", "/%2f%2fv1/tasks", "http://a//v1/tasks"),
    *("/v1//tasks", "/v1/tasks/", "/v1%2ftasks", "/v1/./tasks", "/./v1/tasks"),
    *("/v1/x/../tasks", "/../v1/tasks", "/v1/%2e%2e/v1/tasks", "/v1/tasks/%2e", "/v1/tasks/%2e%2e"),
    *("/v1/tasks%00", "/v1/tasks%0d%0aX:y", "/v1/tasks;x", "/V1/tasks", "/v1/tasks%20"),
    *("/v1/tasks%ff", "/v1/tasks%25", "/v1/tasks%", "/%5cv1/tasks"),
]


async def test_other_spellings_of_a_path_are_other_paths() -> None:
    async with open_door() as door:
        before = door.stored()
        for path in PATHS:
            (answer,) = await door.exchange(post(TASK, path=path.encode()))
            assert answer.status in (404, 405), path
        assert door.stored() == before


ODD = {
    "a length and an encoding with other names": b"Content_Length: 3\r\nTransfer_Encoding: chunked\r\n",
    "an upgrade": b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n",
    "HTTP/2 on offer": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "an expectation": b"Expect: 100-continue\r\n",
    "another expectation": b"Expect: 200-ok\r\n",
    "a header of other bytes": b"X: \x80\xff\r\n",
    "an override of the method": b"X-HTTP-Method-Override: DELETE\r\n",
    "a forwarded address": b"X-Forwarded-For: 10.0.0.1, x\r\nForwarded: for=_\r\nX-Forwarded-Prefix: /x\r\n",
}


@pytest.mark.parametrize("lines", ODD.values(), ids=ODD.keys())
async def test_what_is_odd_and_clear_changes_nothing(lines: bytes) -> None:
    async with open_door() as door:
        answers = await door.exchange(post(TASK, lines) + post(TASK))
        assert [answer.status for answer in answers] == [201, 201]
        assert (await door.api.engine.list()).total == 2


async def test_http_1_0_is_served_and_closed_also_when_it_asks_to_be_kept() -> None:
    async with open_door() as door:
        old = post(TASK, b"Connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        (answer,) = await door.exchange(old + post(TASK))
        assert answer.status == 201
        assert (await door.api.engine.list()).total == 1


BODIES = {
    "gzip": (gzip.compress(TASK), b"Content-Encoding: gzip"),
    "gzip in name only": (TASK, b"Content-Encoding: gzip"),
    "two encodings": (TASK, b"Content-Encoding: identity, br"),
    "multipart": (b"--x\r\n\r\n" + TASK + b"\r\n--x--", b"Content-Type: multipart/form-data; boundary=x"),
    "a form": (b"queue=q", b"Content-Type: application/x-www-form-urlencoded"),
    "text": (TASK, b"Content-Type: text/plain"),
    "nearly JSON": (TASK, b"Content-Type: application/jsonx"),
    "two types": (TASK, b"Content-Type: text/plain, application/json"),
    "no type": (TASK, b"Content-Type:"),
    "garbage": (TASK, b"Content-Type: \xff;;=;"),
    "other charset": (TASK, b"Content-Type: application/json; charset=utf-16"),
}


@pytest.mark.parametrize(("body", "line"), BODIES.values(), ids=BODIES.keys())
async def test_415_for_a_body_that_is_not_plain_json(body: bytes, line: bytes) -> None:
    async with open_door() as door:
        before = door.stored()
        data = post(body, line + b"\r\n")
        if line.startswith(b"Content-Type"):
            data = data.replace(b"Content-Type: application/json\r\n", b"", 1)
        answers = await door.exchange(data + post(TASK))
        assert [answer.status for answer in answers] == [415, 201]
        assert answers[0].headers["content-type"] == "application/problem+json"
        assert len(door.stored()) == len(before)
        assert (await door.api.engine.list()).total == 1


@pytest.mark.parametrize("cut", [1, 30, 200, -40, -1])
async def test_an_aborted_request_is_400_and_stores_nothing(cut: int) -> None:
    async with open_door() as door:
        before = door.stored()
        stream = await door.send(post(TASK, b"")[:cut])
        async with stream:
            await stream.send_eof()
            told = b"".join([bytes(part) async for part in stream])
        assert told.startswith(b"HTTP/1.1 400 ")
        assert door.stored() == before
