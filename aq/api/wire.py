"""Cuts what a client sends into whole, well-formed requests. Sans I/O.

Whatever two HTTP parsers could read in two ways is refused before any of it is passed on (request smuggling,
RFC 9112 section 11.2): bare LF, folded headers, control characters, more than one Content-Length, both a
Content-Length and a Transfer-Encoding. What passes has been parsed by h11, or is as plain as nearly all
requests are, and can be written anew in one plain form: origin-form target, a Content-Length where there is
a body, no chunks, no Expect, no Upgrade. So the server behind never meets a request it would have to refuse
itself, or one that is not all there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import h11
from attrs import define, frozen

from aq.api.framing import NOT_WELL_FORMED, Body, ChunkedBody, Refusal, SizedBody, check_size

MAX_HEAD_BYTES: Final = 16 << 10
MAX_HEADERS: Final = 100
_REMEMBERED_HEADS: Final = 256
_REMEMBERED_BYTES: Final = 1 << 10
"""What is known of heads up to this size, of so many, need not be found out again."""

_UNCLEAR: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)|\r\n[ \t]")
_LENGTHS: Final = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([^\r]*)", re.IGNORECASE)
_TARGET: Final = re.compile(rb"(?:https?://[^/?#@]+)?(/[^#]*)", re.IGNORECASE)
_METHOD: Final = re.compile(rb"[A-Z]{1,20}")
_LINE: Final = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([!-~](?:[ -~]*[!-~])?)\r\n"
_PLAIN_LINE: Final = re.compile(_LINE)
_PLAIN_HEAD: Final = re.compile(rb"([A-Z]{1,20}) ([!-~]+) HTTP/(1\.[01])\r\n((?:%b)+)\r\n" % _LINE)
_HOST: Final = re.compile(
    rb"(?:[A-Z0-9_-]{1,63}(?:\.[A-Z0-9_-]{1,63}){0,126}\.?|\[[A-F0-9:.]{2,45}\])?(?::[0-9]{0,5})?",
    re.IGNORECASE,
)
"""A name of the DNS (RFC 1035), an IPv4 or an IPv6 address, or nothing; with a port."""
_NOT_PASSED_ON: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"trailer", b"expect", b"upgrade", b"http2-settings"}
)


@frozen
class Request:
    """A whole request. The target begins with a slash; names of headers are in lower case."""

    method: bytes
    target: bytes
    version: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    length_told: bool
    """It has a body, if an empty one."""
    size: int
    """How many bytes it is taken for: as it came, without the frames of chunks."""

    @property
    def plain(self) -> bytes:
        """As it is passed on."""
        return b"".join(self._lines())

    def _lines(self) -> Iterator[bytes]:
        yield b"%s %s HTTP/%s\r\n" % (self.method, self.target, self.version)
        for name, value in self.headers:
            if name not in _NOT_PASSED_ON:
                yield b"%s: %s\r\n" % (name, value)
        if self.length_told:
            yield b"content-length: %d\r\n" % len(self.body)
        yield b"\r\n"
        yield self.body


@frozen
class _Line:
    """What a head says, before it is judged."""

    method: bytes
    target: bytes
    version: bytes
    headers: Sequence[tuple[bytes, bytes]]


@define
class _Head:
    """A request whose head is complete."""

    line: _Line
    target: bytes
    size: int
    body: Body
    expects_continue: bool

    def whole(self) -> Request:
        line, body = self.line, bytes(self.body.data)
        told = bool(body) or isinstance(self.body, ChunkedBody)
        size = self.size + len(body)
        return Request(line.method, self.target, line.version, line.headers, body, told, size)


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

    def next_request(self) -> Request | None:
        """The next whole request, or None until more bytes come. Raises Refusal."""
        if self._head is None:
            self._head = self._take_head()
        head = self._head
        if head is None or not head.body.take(self._buffer):
            return None
        self._head = None
        self.receive(b"")
        return head.whole()

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


@frozen
class _Spec:
    """What a head says, judged. ``length`` is that of the body; None: it comes in chunks."""

    line: _Line
    target: bytes
    length: int | None
    expects_continue: bool


def _parse_head(text: bytes) -> _Head:
    spec = (_spec_again if len(text) <= _REMEMBERED_BYTES else _spec)(text)
    body = ChunkedBody() if spec.length is None else SizedBody(spec.length)
    return _Head(spec.line, spec.target, len(text), body, spec.expects_continue)


def _spec(text: bytes) -> _Spec:
    """Raises Refusal."""
    line = _read_plain(text) or _read(text)
    if len(line.headers) > MAX_HEADERS:
        raise Refusal(431, f"a request may have at most {MAX_HEADERS} headers")
    target = _TARGET.fullmatch(line.target)
    if target is None:
        raise Refusal(400, "the request target must be a path: /…")
    headers = dict(line.headers)
    if not _METHOD.fullmatch(line.method):
        raise Refusal(400, "a method is a word in capital letters")
    if not _HOST.fullmatch(headers.get(b"host", b"")):
        raise Refusal(400, "the header Host must be the name or the address of a host, and maybe a port")
    chunked = b"transfer-encoding" in headers
    length = _content_length(text, chunked=chunked, version=line.version)
    check_size(length)
    expects = headers.get(b"expect", b"").lower() == b"100-continue" and line.version == b"1.1"
    return _Spec(line, target[1], None if chunked else length, expects)


_spec_again = lru_cache(maxsize=_REMEMBERED_HEADS)(_spec)
"""The same: a client says the same again and again."""


def _read_plain(text: bytes) -> _Line | None:
    """What nearly every client sends, as h11 would read it in nine times the time; None for all else."""
    head = _PLAIN_HEAD.fullmatch(text)
    if head is None:
        return None
    headers = [(name.lower(), value) for name, value in _PLAIN_LINE.findall(head[4])]
    names = [name for name, _ in headers]
    lengths = [value for name, value in headers if name == b"content-length"]
    if names.count(b"host") != 1 or b"transfer-encoding" in names:
        return None
    if len(lengths) > 1 or not b"".join(lengths or [b"0"]).isdigit():
        return None
    return _Line(head[1], head[2], head[3], headers)


def _read(text: bytes) -> _Line:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    parser.receive_data(text)
    try:
        request = parser.next_event()
    except h11.RemoteProtocolError:
        raise Refusal(400, NOT_WELL_FORMED) from None
    if not isinstance(request, h11.Request) or request.http_version not in (b"1.0", b"1.1"):
        raise Refusal(400, "send HTTP/1.1 or HTTP/1.0")
    return _Line(request.method, request.target, request.http_version, list(request.headers))


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
