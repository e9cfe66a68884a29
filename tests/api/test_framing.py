"""Chunked bodies: what is read, what is refused, and that it is the same however the network cuts them."""

from __future__ import annotations

from random import Random

import pytest

from aq.api.framing import MAX_BESIDE_BYTES, MAX_TRAILERS, Refusal
from aq.api.wire import RequestReader

CHUNKED = b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
END = b"\r\nx\r\n0\r\n\r\n"
MALFORMED = {
    "no size": b"\r\nx\r\n",
    "negative": b"-1\r\nx\r\n",
    "signed": b"+1\r\nx\r\n",
    "with 0x": b"0x1\r\nx\r\n",
    "with an underscore": b"1_0\r\n" + b"x" * 16 + b"\r\n",
    "no hexadecimal": b"g\r\nx\r\n",
    "2^64": b"10000000000000000\r\nx\r\n",
    "zeros without end": b"0" * 17 + b"1" + END,
    "space before": b" 1" + END,
    "letters behind": b"1 a" + END,
    "full-width digit": "１".encode() + END,
    "size ended by LF": b"1\nx\r\n0\r\n\r\n",
    "size ended by CR": b"1\rx\r\n0\r\n\r\n",
    "LF in an extension": b"1;a\nb" + END,
    "CR in an extension": b"1;a\rb" + END,
    "NUL in an extension": b"1;a\0b" + END,
    "longer than its size": b"1\r\nxx\r\n0\r\n\r\n",
    "no end of a chunk": b"1\r\nx0\r\n\r\n",
    "LF behind a chunk": b"1\r\nx\n0\r\n\r\n",
    "CR behind a chunk": b"1\r\nx\r0\r\n\r\n",
    "LF at the end": b"0\r\n\n",
    "trailer without a colon": b"0\r\nhello\r\n\r\n",
    "trailer without a name": b"0\r\n: a\r\n\r\n",
    "space before a trailer's colon": b"0\r\nT : a\r\n\r\n",
    "folded trailer": b"0\r\nT: a\r\n b\r\n\r\n",
    "NUL in a trailer": b"0\r\nT: a\0\r\n\r\n",
    "LF in a trailer": b"0\r\nT: a\nb: c\r\n\r\n",
    "CR in a trailer": b"0\r\nT: a\rb: c\r\n\r\n",
}
LARGE = {
    "an extension of 1 MiB": b"1;" + b"a" * (1 << 20) + END,
    "extensions that add up": (b"1;" + b"a" * 4_096 + b"\r\nx\r\n") * 4 + b"0\r\n\r\n",
    "a trailer of 64 KiB": b"0\r\nT: " + b"a" * (64 << 10) + b"\r\n\r\n",
    "trailers that add up": b"0\r\n" + (b"T: " + b"a" * 4_096 + b"\r\n") * 4 + b"\r\n",
    "many trailers": b"0\r\n" + b"T: a\r\n" * (MAX_TRAILERS + 1) + b"\r\n",
}
GOOD = {
    "empty": (b"0\r\n\r\n", b""),
    "one": (b"1" + END, b"x"),
    "upper and lower case, zeros": (
        b"0A\r\n0123456789\r\n0b\r\n0123456789a\r\n000\r\n\r\n",
        b"01234567890123456789a",
    ),
    "blanks behind the size": (b"1 \t" + END, b"x"),
    "extensions": (b'1 ;a;b=c; d="e"' + END, b"x"),
    "trailers": (b"0\r\nT: a\r\nContent-Length: 5\r\n\r\n", b""),
    "as much beside as may be": (b"1;" + b"a" * (MAX_BESIDE_BYTES - 1) + END, b"x"),
}


def pieces(data: bytes) -> list[list[bytes]]:
    """The data at once, byte by byte where that is short, and cut at chance."""
    random, found = Random(len(data)), [[data]]
    if len(data) < 2_000:
        found.append([data[at : at + 1] for at in range(len(data))])
    for _ in range(5):
        cuts = sorted(random.randrange(len(data)) for _ in range(4))
        found.append([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)])
    return found


def read(parts: list[bytes]) -> list[bytes]:
    """The bodies of the requests that come out, and the target of the last."""
    reader, found = RequestReader(), []
    for part in parts:
        reader.receive(part)
        found += [request.plain for request in iter(reader.next_request, None)]
    assert not reader.begun
    return [*(request.partition(b"\r\n\r\n")[2] for request in found[:-1]), found[-1].split(b" ")[1]]


def refused(data: bytes) -> set[int]:
    statuses = set()
    for parts in pieces(data):
        with pytest.raises(Refusal) as caught:
            read(parts)
        statuses.add(caught.value.status)
    return statuses


@pytest.mark.parametrize(("data", "body"), GOOD.values(), ids=GOOD.keys())
def test_chunks_are_read_however_they_are_cut(data: bytes, body: bytes) -> None:
    for parts in pieces(CHUNKED + data + NEXT):
        assert read(parts) == [body, b"/next"]


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_chunks_are_400_however_they_are_cut(data: bytes) -> None:
    assert refused(CHUNKED + data + NEXT) == {400}


@pytest.mark.parametrize("data", LARGE.values(), ids=LARGE.keys())
def test_much_beside_the_data_is_431_also_in_one_burst(data: bytes) -> None:
    assert refused(CHUNKED + data + NEXT) == {431}


def test_a_chunk_that_is_too_large_is_refused_at_its_size() -> None:
    assert refused(CHUNKED + b"ffffffffffffffff\r\n") == {413}
    assert refused(CHUNKED + b"100001\r\n") == {413}
