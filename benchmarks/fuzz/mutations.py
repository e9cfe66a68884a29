"""What spoils a request: in what it says (it is still one request), or in its bytes (it may be anything)."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final
from urllib.parse import quote

from benchmarks.fuzz.forms import Form, Request
from benchmarks.fuzz.nasty import NO_VALUES, VALUES, WORDS

_METHODS: Final = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "post",
    "QUERY",
    "A" * 999,
)
_TARGETS: Final = (
    *("{}/", "/{}", "//x{}", "/x/..{}", "{}/../.."),
    *("/.{}", "{}%00", "{}%2f", "{}%0d%0aX:y", "{};a=b", "{}#f"),
    *("http://127.0.0.1{}", "HTTPS://x{}", "http://a@b{}", "{}?", "{}??"),
    *("{}?&&=&", "{}?a", "{}?%00=%ff", "*", "x{}"),
)  # fmt: skip
_HEADERS: Final = (
    *("Content-Type", "Content-Encoding", "Authorization"),
    *("X-API-Key", "Idempotency-Key", "traceparent", "Host"),
    *("X-Request-Id", "Last-Event-ID", "Expect", "Accept"),
    *("Accept-Encoding", "Cookie", "Range", "If-None-Match"),
    *("Connection", "Upgrade", "X-Forwarded-For", "Forwarded"),
    *("X-HTTP-Method-Override", "Origin", "TE", "Trailer"),
    *("Content-Length2", "Content_Length", "Sec-WebSocket-Key", "Proxy-Connection", "Keep-Alive", "x" * 500),
)  # fmt: skip
_TEXTS: Final = (
    *("application/json", "application/json; charset=utf-16"),
    *("text/plain", "multipart/form-data; boundary=x"),
    *("application/x-www-form-urlencoded", "application/json;;;=", "gzip"),
    *("identity", "Bearer ", "Basic eDp5"),
    *("100-continue", "200-ok", "keep-alive, upgrade", "h2c", "websocket", "bytes=0-", "evil.example", "a/b"),
)  # fmt: skip
_ENDINGS: Final = (b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b"\0")
_TOKENS: Final = (
    *(*_ENDINGS, b":", b" ", b"\t", b"\xff"),
    *(b"%", b"?", b"0", b"0\r\n\r\n", b"-1\r\n", b"ffffffffffffffff\r\n"),
    *(b"\r\nContent-Length: 5\r\n", b"\r\nContent-Length: 0\r\n", b"\r\nTransfer-Encoding: chunked\r\n"),
    *(b"\r\nTransfer-Encoding: xchunked\r\n", b"\r\nTransfer-Encoding : chunked\r\n", b"\r\nHost: b\r\n"),
    *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    *(b" HTTP/1.0\r\n", b" HTTP/0.9\r\n"),
    *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"X: y\r\n" * 120, b"a" * 17_000, b"\x80" * 40),
)  # fmt: skip


# -- what it says -------------------------------------------------------------------------------------------
def misspeak(request: Request, form: Form, random: Random) -> None:
    """Change one thing of a request; it stays one request that is well framed."""
    ways: list[Callable[[Request, Form, Random], None]] = [_parameter, _target, _header, _header]
    if request.body is not None:
        ways += 6 * [_member] + 2 * [_text]
    elif random.random() < 0.2:
        ways += [_unasked_body]
    random.choice([*ways, _method])(request, form, random)


def _member(request: Request, form: Form, random: Random) -> None:
    """One member of the JSON, at any depth: another value, or none, or twice, or a new one."""
    try:
        whole = json.loads(request.body or b"")
    except (ValueError, RecursionError):
        return  # spoiled before
    mark = "\0the value\0"
    place = _place(whole, random)
    if place is None:
        return
    known = [*place, *form.fields, "bogus", "", "é"] if isinstance(place, dict) else range(len(place))
    at: Any = random.choice(list(known)) if known else None
    if isinstance(place, list) and (at is None or random.random() < 0.2):
        place.append(mark)
    elif random.random() < 0.15 and (isinstance(place, list) or at in place):
        del place[at]
    else:
        place[at] = mark
    value = random.choice(VALUES if random.random() < 0.8 else NO_VALUES)
    text = json.dumps(whole).replace(json.dumps(mark), value)
    if random.random() < 0.1:
        text = text.replace("{", '{"queue": ' + value + ", ", 1)
    request.body = text.encode("utf-8", "surrogatepass")


def _place(value: Any, random: Random) -> Any:
    """A list or an object within the value, or the value."""
    if not isinstance(value, dict | list):
        return None
    inner = [
        it for it in (value.values() if isinstance(value, dict) else value) if isinstance(it, dict | list)
    ]
    return _place(random.choice(inner), random) if inner and random.random() < 0.5 else value


def _text(request: Request, form: Form, random: Random) -> None:
    """The body as a whole."""
    body = request.body or b""
    at = random.randrange(len(body) + 1)
    request.body = random.choice([
        *(body[:at], body + b"}", body + body),
        *(b" " + body, b"[" + body + b"]", b'"' + body + b'"', b"\xef\xbb\xbf" + body),
        body.decode("utf-8", "replace").encode("utf-16"),
        *(body[:at] + b"\xff" + body[at:], body[:at] + b"\0" + body[at:]),
        random.choice(VALUES + NO_VALUES).encode(),
        *(b"", b"\n", bytes(random.randrange(256) for _ in range(40)), b" " * (1 << 20) + body),
    ])  # fmt: skip


def _unasked_body(request: Request, form: Form, random: Random) -> None:
    request.body = random.choice((*VALUES, *NO_VALUES)).encode()


def _parameter(request: Request, form: Form, random: Random) -> None:
    name = random.choice([*form.query, "bogus", "queue", "é"])
    value = random.choice([*WORDS, "0", "1", "20", "emails", "pending", "2026-01-31T09:30:00Z"])
    text = quote(value, "%+&=;") if random.random() < 0.8 else value.encode("latin-1").hex("%")
    sign = "&" if "?" in request.target else "?"
    request.target += sign + "&".join(random.randrange(1, 3) * [f"{quote(name)}={text}"])


def _target(request: Request, form: Form, random: Random) -> None:
    if random.random() < 0.5:
        request.target = random.choice(_TARGETS).format(request.target)
        return
    parts = request.target.split("/")
    parts[random.randrange(1, len(parts)) if len(parts) > 1 else 0] = quote(random.choice(WORDS), "%+;")
    request.target = "/".join(parts)


def _header(request: Request, form: Form, random: Random) -> None:
    """One more, one another, one less; rarely very many."""
    if random.random() < 0.05:
        request.headers += random.choice((90, 101, 2_000)) * [("X", "y")]
        return
    at = random.randrange(len(request.headers) + 1)
    known = random.random() < 0.5 and at < len(request.headers)
    name = request.headers[at][0] if known else random.choice(_HEADERS)
    value = random.choice([*WORDS, *_TEXTS]).strip(" \t")
    if random.random() < 0.5:
        request.headers[at : at + 1] = [(name, value)]
    elif random.random() < 0.5:
        request.headers.insert(at, (name, value))
    else:
        del request.headers[at : at + 1]


def _method(request: Request, form: Form, random: Random) -> None:
    request.method = random.choice(_METHODS)


# -- its bytes ----------------------------------------------------------------------------------------------
def garble(data: bytes, random: Random) -> bytes:
    """The data with one thing changed, anywhere."""
    end = data.find(b"\r\n\r\n") + 4
    at = random.randrange(end) if random.random() < 0.7 else random.randrange(len(data) + 1)
    to = min(len(data), at + random.choice((1, 1, 2, 8, 60)))
    match random.randrange(8):
        case 0:
            return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + data[to:]
        case 2:
            return data[:to] + data[at:]
        case 3:
            return data[:at]
        case 4:
            return data.replace(b"\r\n", random.choice(_ENDINGS), random.choice((1, 2, -1)))
        case 5:
            return data[:at] + bytes(random.randrange(256) for _ in range(8)) + data[at:]
        case _:
            return data[:at] + random.choice(_TOKENS) + data[at:]
