"""What is let through to the server, and what is refused before any of it gets there."""

from __future__ import annotations

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from aq.api import wire
from aq.api.framing import MAX_BODY_BYTES, MAX_CHUNKS, Refusal
from aq.api.wire import RequestReader

HEAD = b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\n"


def read(data: bytes) -> list[bytes]:
    """Every whole request in the data."""
    reader = RequestReader()
    reader.receive(data)
    return [request.plain for request in iter(reader.next_request, None)]


def refusal(data: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(data)
    return caught.value


def test_a_request_comes_out_whole_and_in_plain_form() -> None:
    (request,) = read(HEAD + b"Content-Length: 2\r\nX-A:  b \r\n\r\n{}")
    assert request == b"POST /v1/tasks HTTP/1.1\r\nhost: a\r\nx-a: b\r\ncontent-length: 2\r\n\r\n{}"


def test_byte_by_byte_is_the_same_as_at_once() -> None:
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nT: 1\r\n\r\n" + HEAD + b"\r\n"
    reader = RequestReader()
    found = []
    for byte in data:
        reader.receive(bytes([byte]))
        if (request := reader.next_request()) is not None:
            found.append(request.plain)
    assert found == read(data)
    assert len(found) == 2
    assert not reader.begun


def test_chunks_become_a_content_length() -> None:
    (request,) = read(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    assert request == HEAD.replace(b"Host", b"host") + b"content-length: 7\r\n\r\nabcdefg"


def test_an_empty_chunked_body_is_declared_too() -> None:
    (request,) = read(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert b"content-length: 0\r\n" in request


def test_pipelined_requests_come_out_one_by_one() -> None:
    data = (
        HEAD
        + b"Content-Length: 1\r\n\r\nxGET /a HTTP/1.1\r\nHost: b\r\n\r\n\r\n"
        + b"GET /b HTTP/1.1\r\nHost: b\r\n\r\n"
    )
    requests = read(data)
    assert [request.split(b" ")[1] for request in requests] == [b"/v1/tasks", b"/a", b"/b"]


def test_nothing_that_changes_the_protocol_is_passed_on() -> None:
    data = HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"
    (request,) = read(data)
    assert b"\r\nupgrade:" not in request
    assert b"http2-settings:" not in request


def test_an_absolute_target_becomes_its_path() -> None:
    (request,) = read(b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n")
    assert request.startswith(b"GET /b?c HTTP/1.1\r\n")


def test_a_client_that_waits_for_a_continue_is_seen() -> None:
    reader = RequestReader()
    reader.receive(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert reader.next_request() is None
    waiting = reader.wants_continue
    reader.continued()
    assert (waiting, reader.wants_continue) == (True, False)
    reader.receive(b"{}")
    request = reader.next_request()
    assert request is not None
    assert b"expect" not in request.plain


MALFORMED = {
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "two equal lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "space before the colon": HEAD + b"Content-Length : 2\r\n\r\n{}",
    "signed length": HEAD + b"Content-Length: +2\r\n\r\n{}",
    "hex length": HEAD + b"Content-Length: 0x2\r\n\r\n{}",
    "endless length": HEAD + b"Content-Length: " + b"9" * 100 + b"\r\n\r\n",
    "other encoding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    "two encodings": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "encoding twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in 1.0": HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded header": HEAD + b"X-A: b\r\n c\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "one bare LF": HEAD + b"X-A: b\nContent-Length: 2\r\n\r\n{}",
    "bare CR": HEAD + b"X-A: b\rContent-Length: 2\r\n\r\n{}",
    "NUL": HEAD + b"X-A: b\x00c\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "host of dots": b"GET / HTTP/1.1\r\nHost: ..\r\n\r\n",
    "host with an empty label": b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n",
    "host with a long label": b"GET / HTTP/1.1\r\nHost: " + b"a" * 64 + b"\r\n\r\n",
    "long host": b"GET / HTTP/1.1\r\nHost: a" + b".a" * 127 + b"\r\n\r\n",
    "host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with a user": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host that is not ASCII": b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n",
    "host with a word as its port": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "method in small letters": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "long method": b"A" * 21 + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with a fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "words": b"hello there\r\n\r\n",
    "authority target": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk target": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "empty target": b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "chunk too long for its size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "chunks ended by LF": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    "chunk ended by LF": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    assert refusal(data).status == 400


@pytest.mark.parametrize(
    "host",
    [b"", b"a", b"A.b-c.example.", b"a_b:80", b"127.0.0.1:8080", b"[::1]", b"[::ffff:1.2.3.4]:443", b"a:"],
)
def test_hosts_that_pass(host: bytes) -> None:
    assert read(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")


def test_a_bare_lf_is_refused_before_the_head_is_complete() -> None:
    assert refusal(b"GET / HTTP/1.1\nHo").status == 400


LARGE = {
    "a long header": HEAD + b"X: " + b"a" * (16 << 10) + b"\r\n\r\n",
    "a head without end": HEAD + b"X: " + b"a" * (16 << 10),
    "many headers": HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(100)) + b"\r\n",
    "a long target": b"GET /" + b"a" * (16 << 10) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("data", LARGE.values(), ids=LARGE.keys())
def test_large_heads_are_431(data: bytes) -> None:
    assert refusal(data).status == 431


def test_100_headers_pass() -> None:
    assert len(read(HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(99)) + b"\r\n")) == 1


def test_a_declared_body_over_1_mib_is_refused_at_its_head() -> None:
    assert refusal(HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)).status == 413


def test_a_chunked_body_over_1_mib_is_refused_when_it_gets_there() -> None:
    chunk = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
    start = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    assert len(read(start + 4 * chunk + b"0\r\n\r\n")) == 1
    assert refusal(start + 4 * chunk + b"1\r\nx").status == 413


def test_a_body_cut_to_crumbs_is_refused() -> None:
    crumbs = b"1\r\nx\r\n" * (MAX_CHUNKS + 1)
    assert refusal(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + crumbs).status == 413


LINES = st.sampled_from(
    [
        *(b"Host: a", b"host: b", b"Host:", b"Content-Length: 0", b"content-length: 2", b"Content-Length: x"),
        *(b"X: a  b", b"X:  a", b"X: a ", b"X:a", b"X: ", b"X : a", b": a", b"X", b"X: \x80", b"X: a\tb"),
        *(b"Transfer-Encoding: chunked", b"transfer-encoding: identity", b"Expect: 100-continue"),
        *(
            b"Connection: close",
            b" folded: a",
            b"!#$%&'*+.^_`|~0: a",
            b"X(: a",
            b"X: \x7f",
            b"Cookie: a; b=c",
        ),
    ]
)
TARGETS = st.sampled_from([b"/", b"/v1/tasks?a#", b"http://a/b", b"*", b"a:1", b"/\x80", b"/ x", b""])
STARTS = st.builds(
    b"%b%b%b%b%b".__mod__,
    st.tuples(
        st.sampled_from([b"POST", b"GET", b"get", b"P@ST", b"A" * 21, b""]),
        st.sampled_from([b" ", b"  ", b"\t"]),
        TARGETS,
        st.sampled_from([b" ", b"  "]),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2", b"http/1.1", b"HTTP/1.1 "]),
    ),
)


@settings(max_examples=1_500, deadline=None)
@given(
    start=STARTS | st.just(b"POST /v1/tasks HTTP/1.1"),
    lines=st.lists(LINES, max_size=5) | st.lists(LINES, max_size=3).map(lambda more: [b"Host: a", *more]),
)
def test_a_plain_head_is_read_as_h11_reads_it(start: bytes, lines: list[bytes]) -> None:
    head = b"".join(line + b"\r\n" for line in [start, *lines, b""])
    plain = wire._read_plain(head)
    event("plain" if plain else "not plain")
    assert plain is None or plain == wire._read(head)
