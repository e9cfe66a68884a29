"""Cuts what a client sends into whole, well-formed requests. Sans I/O.

Whatever two HTTP parsers could read in two ways is refused before any of it is passed on (request smuggling,
RFC 9112 section 11.2): bare LF, folded headers, control characters, more than one Content-Length, both a
Content-Length and a Transfer-Encoding. What passes has been parsed by h11 and is written anew in one plain
form: origin-form target, a Content-Length where there is a body, no chunks, no Expect, no Upgrade. So the
server behind never meets a request it would have to refuse itself, or one that is not all there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import h11
from attrs import define

from aq.api.framing import NOT_WELL_FORMED, Body, ChunkedBody, Refusal, SizedBody, check_size

MAX_HEAD_BYTES: Final = 16 << 10
MAX_HEADERS: Final = 100

_UNCLEAR: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)|\r\n[ \t]")
_LENGTHS: Final = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([^\r]*)", re.IGNORECASE)
_TARGET: Final = re.compile(rb"(?:https?://[^/?#@]+)?(/[^#]*)", re.IGNORECASE)
_METHOD: Final = re.compile(rb"[A-Z]{1,20}")
_HOST: Final = re.compile(
    rb"(?:[A-Z0-9_-]{1,63}(?:\.[A-Z0-9_-]{1,63}){0,126}\.?|\[[A-F0-9:.]{2,45}\])?(?::[0-9]{0,5})?",
    re.IGNORECASE,
)
"""A name of the DNS (RFC 1035), an IPv4 or an IPv6 address, or nothing; with a port."""
_NOT_PASSED_ON: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"trailer", b"expect", b"upgrade", b"http2-settings"}
)


@define
class _Head:
    """A request whose head is complete."""

    request: h11.Request
    target: bytes
    body: Body
    expects_continue: bool


class RequestReader:
    """One connection's inbound bytes. Holds at most one request and what was pipelined behind it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._checked = 0
        """So much of a head is known to be clear and not its end."""
        self._head: _Head | None = None
        self.asks_for_head_only = False
        """No answer to the present request has a body, not even a refusal (RFC 9110 section 9.3.2)."""

    def receive(self, data: bytes | bytearray) -> None:
        """Take bytes as they came."""
        self._buffer += data
        if self._head is None:
            while self._buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2: empty lines between requests
                del self._buffer[:2]
            self.asks_for_head_only = self._buffer.startswith(b"HEAD ")

    @property
    def begun(self) -> bool:
        """Some bytes of a request are here that was not taken yet."""
        return bool(self._buffer) or self._head is not None

    @property
    def size(self) -> int:
        """How many bytes are here."""
        return len(self._buffer) + (0 if self._head is None else len(self._head.body.data))

    @property
    def wants_continue(self) -> bool:
        """The client holds its body back until it is told to go on (RFC 9110 section 10.1.1)."""
        head = self._head
        return head is not None and head.expects_continue and not head.body.data and not self._buffer

    def continued(self) -> None:
        """The client was told to go on."""
        if self._head is not None:
            self._head.expects_continue = False

    def next_request(self) -> bytes | None:
        """The next whole request in plain form, or None until more bytes come. Raises Refusal."""
        if self._head is None:
            self._head = self._take_head()
        head = self._head
        if head is None or not head.body.take(self._buffer):
            return None
        self._head = None
        self.receive(b"")
        return b"".join(_plain(head))

    def _take_head(self) -> _Head | None:
        """None until it is all there. What was looked at once is not again, however slowly the rest comes."""
        fresh = max(0, self._checked - 3)
        end = self._buffer.find(b"\r\n\r\n", fresh) + 4
        known = end if end >= 4 else len(self._buffer)
        if _UNCLEAR.search(self._buffer, fresh, min(known, MAX_HEAD_BYTES)):
            raise Refusal(400, NOT_WELL_FORMED)
        if known > MAX_HEAD_BYTES:
            raise Refusal(431, f"the request line and headers may be at most {MAX_HEAD_BYTES:,} bytes long")
        self._checked = known
        if end < 4:
            return None
        text = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._checked = 0
        return _parse_head(text)


def _parse_head(text: bytes) -> _Head:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    parser.receive_data(text)
    try:
        request = parser.next_event()
    except h11.RemoteProtocolError:
        raise Refusal(400, NOT_WELL_FORMED) from None
    if not isinstance(request, h11.Request) or request.http_version not in (b"1.0", b"1.1"):
        raise Refusal(400, "send HTTP/1.1 or HTTP/1.0")
    if len(request.headers) > MAX_HEADERS:
        raise Refusal(431, f"a request may have at most {MAX_HEADERS} headers")
    target = _TARGET.fullmatch(request.target)
    if target is None:
        raise Refusal(400, "the request target must be a path: /…")
    headers = dict(request.headers)
    if not _METHOD.fullmatch(request.method):
        raise Refusal(400, "a method is a word in capital letters")
    if not _HOST.fullmatch(headers.get(b"host", b"")):
        raise Refusal(400, "the header Host must be the name or the address of a host, and maybe a port")
    chunked = b"transfer-encoding" in headers
    length = _content_length(text, chunked=chunked, version=request.http_version)
    check_size(length)
    expects = headers.get(b"expect", b"").lower() == b"100-continue" and request.http_version == b"1.1"
    return _Head(request, target[1], ChunkedBody() if chunked else SizedBody(length), expects)


def _content_length(head: bytes, *, chunked: bool, version: bytes) -> int:
    """The declared length of the body; 0 where none is. h11 would let equal duplicates pass."""
    lengths = _LENGTHS.findall(head)
    if len(lengths) + chunked > 1:
        raise Refusal(400, "the length of the body is given more than once")
    if chunked and version == b"1.0":
        raise Refusal(400, "HTTP/1.0 knows no Transfer-Encoding")
    if not lengths:
        return 0
    if not re.fullmatch(rb"[0-9]{1,15}[ \t]*", lengths[0]):
        raise Refusal(400, "Content-Length must be one number")
    return int(lengths[0])


def _plain(head: _Head) -> Iterator[bytes]:
    request = head.request
    yield b"%s %s HTTP/%s\r\n" % (request.method, head.target, request.http_version)
    for name, value in request.headers:
        if name not in _NOT_PASSED_ON:
            yield b"%s: %s\r\n" % (name, value)
    if head.body.data or isinstance(head.body, ChunkedBody):
        yield b"content-length: %d\r\n" % len(head.body.data)
    yield b"\r\n"
    yield bytes(head.body.data)
