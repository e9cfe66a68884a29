"""One request and one response over a stream, under caps. HTTP/1.1 as RFC 9112 has it, parsed by llhttp.

What a receiver may make us read and remember is bounded: `MAX_HEAD_BYTES` of status lines and headers,
counting up to `MAX_INTERIMS` 1xx answers before the real one; `MAX_HEADERS` headers; `MAX_RESPONSE_BYTES` of
body as it comes over the wire, with its chunk marks and trailers. A longer body is left unread: its status
has decided already. Nothing is decompressed.

How an exchange that yields no answer is named, from the closed list of error types: ``reset`` when the
connection ended early, and also when what came is not HTTP, for either way the exchange broke off with
nothing to judge; ``too_large`` when a cap on the head was passed; ``tls`` when TLS itself failed.
"""

from __future__ import annotations

import re
import ssl
from functools import lru_cache
from typing import Final

import httptools
import trio

from aq.delivery.protocol import (
    KEPT_BYTES,
    MAX_RESPONSE_BYTES,
    DeliveryError,
    WebhookRequest,
    WebhookResponse,
)
from aq.delivery.streams import NothingSentError, Stream
from aq.outcome import ErrorType

MAX_HEAD_BYTES: Final = 32 << 10
MAX_HEADERS: Final = 100
MAX_INTERIMS: Final = 8
_CHUNK_BYTES: Final = 16 << 10
_SWITCHING: Final = 101
_BEGINNING: Final = b"HTTP/1."
"""Of every answer: the parser takes RTSP and HTTP/2.0 for one too."""
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Connection:
    """A stream that carries one exchange after the other."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.reusable = True

    async def exchange(self, request: WebhookRequest) -> WebhookResponse:
        """Send a request, read its response; the request's stopwatch tells the timing.

        Raises NothingSentError when no byte went out, DeliveryError when there is no answer to judge. After
        an exception, or cancellation, the connection is not fit for more.
        """
        self.reusable = False
        asked = trio.current_time()
        sent = await self._send(render(request))
        reader = _Reader()
        await self._read(reader)
        request.stopwatch.answered(asked)
        while not reader.complete:
            await self._read(reader)
        self.reusable = sent and reader.reusable
        timing = request.stopwatch.timing()
        return WebhookResponse(reader.status, reader.headers, bytes(reader.body), timing)

    def fit(self) -> bool:
        """Whether another request may go out: the last response was whole, and nothing came after it.

        What waits on an idle connection is its end, or an answer to a question that nobody asked yet.
        """
        return self.reusable and self._stream.quiet()

    def close(self) -> None:
        """Idempotent."""
        self._stream.close()

    async def _send(self, data: bytes) -> bool:
        """False when the receiver stopped listening half-way: it may still have said why (a 413, say)."""
        try:
            await self._stream.send_all(data)
        except NothingSentError:
            raise
        except ssl.SSLError as error:
            raise _tls_failed(error) from error
        except OSError:
            return False
        return True

    async def _read(self, reader: _Reader) -> None:
        try:
            data = await self._stream.receive_some(min(_CHUNK_BYTES, reader.budget))
        except ssl.SSLError as error:
            raise _tls_failed(error) from error
        except OSError as error:  # NothingSentError too: TLS may speak while it reads, the request has left
            raise _broke_off(f"the connection broke: {error.strerror or error}") from error
        reader.feed(data) if data else reader.end()


class _Reader:
    """Takes one response from the bytes it is fed. The on_… methods are httptools' callbacks."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = bytearray()
        """The first `KEPT_BYTES` of it."""
        self.budget = MAX_HEAD_BYTES
        """How many more bytes may be read: of the head, then of the body."""
        self.complete = False
        self.reusable = False
        self._interims = 0
        self._in_body = False
        self._beginning = b""
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Raises DeliveryError when this is not HTTP or passes a cap."""
        in_head = not self._in_body
        self.budget -= len(data)
        if len(self._beginning) < len(_BEGINNING):
            self._begin(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.reusable = False  # a 101 that nobody asked for: what follows it is not HTTP
        except httptools.HttpParserError as error:
            if not self.complete:
                raise _broke_off(f"the answer is not HTTP: {error}") from error
            self.reusable = False
        if in_head:
            self._leave_head()
        if self.complete or self.budget <= 0:
            self.complete = True
            del self._parser  # it holds this object in turn: with the cycle cut, memory goes at once

    def _begin(self, data: bytes) -> None:
        self._beginning = (self._beginning + data).lstrip(b"\r\n")[: len(_BEGINNING)]
        if not _BEGINNING.startswith(self._beginning):
            raise _broke_off("the answer is not HTTP/1")

    def end(self) -> None:
        """The receiver closed: the end of a body that has no other end, and too early for anything else."""
        if not self._in_body:
            raise _broke_off("the receiver closed the connection without an answer")
        if any(_frames(name.lower(), value) for name, value in self.headers):
            raise _broke_off("the receiver closed the connection in the middle of its answer")
        self.complete = True
        del self._parser

    def on_message_begin(self) -> None:
        self.reusable = False  # of a second answer: nobody asked for it

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # else it is a trailer
            self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if self._in_body:
            return
        self.status = self._parser.get_status_code()
        if 100 <= self.status <= 199 and self.status != _SWITCHING:
            self._interims += 1
            self.headers.clear()
        else:
            self._in_body = True
            self.budget = MAX_RESPONSE_BYTES

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.body += data[: KEPT_BYTES - len(self.body)]

    def on_message_complete(self) -> None:
        if self._in_body and not self.complete:
            self.complete = True
            self.reusable = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"

    def _leave_head(self) -> None:
        """Check the caps on the head; if it has ended, what came of the body with it counts as body."""
        if len(self.headers) > MAX_HEADERS:
            raise _too_large(f"more than {MAX_HEADERS} headers")
        if self._interims > MAX_INTERIMS:
            raise _too_large(f"more than {MAX_INTERIMS} interim (1xx) answers")
        if self._in_body:
            self.budget -= len(self.body)
        elif self.budget <= 0:
            raise _too_large(f"more than {MAX_HEAD_BYTES >> 10} KiB of headers")


def render(request: WebhookRequest) -> bytes:
    """The request as it goes over the wire. Raises ValueError as `head_of` does."""
    return b"%b\r\n\r\n%b" % (head_of(request), request.body)


def head_of(request: WebhookRequest) -> bytes:
    """The request line and all headers, those of the request last.

    Only a body that is there has a length, and one that the method lets a receiver expect (RFC 9110, 8.6).
    Raises ValueError for a header that would break out of its line, or frame the request anew.
    """
    destination, path = request.target
    lines = [" ".join((request.method, path, "HTTP/1.1")), f"host: {destination.authority}"]
    if request.body or request.method not in ("GET", "DELETE"):
        lines.append(f"content-length: {len(request.body)}")
    lines += [f"{_checked(name)}: {value}" for name, value in request.headers]
    head = "\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        raise ValueError("a header must not contain a line break or a NUL")
    return head.encode("ascii")


@lru_cache(maxsize=1_024)
def _checked(name: str) -> str:
    if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
        raise ValueError(f"{name[:64]!a} is not a header that a request may set")
    return name


def _frames(name: str, value: str) -> bool:
    """Whether a header says where the body ends (RFC 9112, section 6.3)."""
    return name == "content-length" or (name == "transfer-encoding" and "chunked" in value.lower())


def tls_words(error: ssl.SSLError) -> str:
    """What went wrong in TLS, for people: OpenSSL's own message names a source file. Ours has no reason."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()


def _broke_off(message: str) -> DeliveryError:
    return DeliveryError(ErrorType.RESET, message)


def _too_large(message: str) -> DeliveryError:
    return DeliveryError(ErrorType.TOO_LARGE, f"the answer has {message}")


def _tls_failed(error: ssl.SSLError) -> DeliveryError:
    return DeliveryError(ErrorType.TLS, f"TLS failed: {tls_words(error)}")
