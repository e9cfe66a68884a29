"""One case over one connection: sent in its pieces, its answers read as strictly as h11 reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any, Final

import h11
import trio
from attrs import field, frozen

from benchmarks.fuzz.cases import Case

HANG_SECONDS: Final = 60


@frozen
class Answer:
    """One answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """None where the body is none."""
        return json.loads(self.body) if "json" in self.headers.get("content-type", "") and self.body else None

    @property
    def refuses_the_connection(self) -> bool:
        return self.status >= 400 and self.headers.get("connection") == "close"


class Answers:
    """Cuts what a server sends into answers. An event stream is one as soon as its head is there."""

    def __init__(self, methods: Sequence[str] | None) -> None:
        self._methods: Iterator[str] = chain(methods or (), repeat("GET"))
        self.whole: list[Answer] = []
        self._parser = self._next_parser()
        self._head: h11.Response | None = None
        self._body = b""
        self.streaming = False

    @property
    def begun(self) -> bool:
        """A part of an answer is here."""
        return self._head is not None or bool(self._parser.trailing_data[0])

    def receive(self, data: bytes) -> None:
        """Take bytes. Raises h11.RemoteProtocolError where they are no answer."""
        self._parser.receive_data(data)
        while not self.streaming:
            event = self._parser.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.Response):
                self._head = event
                self.streaming = b"text/event-stream" in dict(event.headers).get(b"content-type", b"")
            elif isinstance(event, h11.Data):
                self._body += event.data
            if isinstance(event, h11.EndOfMessage) or self.streaming:
                self._end()

    def _end(self) -> None:
        assert self._head is not None
        headers = {name.decode(): value.decode("latin-1") for name, value in self._head.headers}
        self.whole.append(Answer(self._head.status_code, headers, self._body))
        self._head, self._body = None, b""
        rest = self._parser.trailing_data[0]
        self._parser = self._next_parser()
        if rest and not self.streaming:
            self._parser.receive_data(rest)

    def _next_parser(self) -> h11.Connection:
        parser = h11.Connection(h11.CLIENT)
        method = next(self._methods)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        parser.send(h11.EndOfMessage())
        return parser


@frozen
class Exchanged:
    """What came of a case; ``fault`` is None where all was as it must be, else one line."""

    answers: list[Answer] = field(factory=list)
    fault: str | None = None


async def exchange(port: int, case: Case) -> Exchanged:
    """Send a case and judge the dialogue. A fault is told, never raised."""
    answers, fault = Answers(case.methods), None
    with trio.move_on_after(HANG_SECONDS) as scope:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(_send, stream, case)
            fault = await _listen(stream, answers, case)
            nursery.cancel_scope.cancel()
    if scope.cancelled_caught:
        fault = f"no end after {HANG_SECONDS} s"
    return Exchanged(answers.whole, fault or _fault(answers, case))


async def _listen(stream: trio.SocketStream, answers: Answers, case: Case) -> str | None:
    """Until all that is due is here or the server has closed; what is wrong with the bytes, or None."""
    try:
        while not _complete(answers, case) and (data := await stream.receive_some(1 << 16)):
            answers.receive(bytes(data))
    except trio.BrokenResourceError:
        return None  # reset: what is here by now has to do
    except h11.RemoteProtocolError as error:
        return f"an answer is malformed: {error}"
    return None


async def _send(stream: trio.SocketStream, case: Case) -> None:
    try:
        for piece in case.pieces:
            await stream.send_all(piece)
        if case.methods is None:
            await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # refused before its end: the answer tells


def _complete(answers: Answers, case: Case) -> bool:
    if answers.streaming:
        return True
    return case.methods is not None and len(answers.whole) == len(case.methods)


def _fault(answers: Answers, case: Case) -> str | None:
    if answers.begun:
        return "an answer is cut"
    whole = answers.whole
    if not whole:
        return "closed without an answer"
    if case.methods is not None and len(whole) < len(case.methods):
        if not whole[-1].refuses_the_connection and not answers.streaming:
            return f"{len(whole)} answers to {len(case.methods)} requests, and the last one is no refusal"
    elif case.canary and whole[-1].status != 200:
        return f"a good request at the end is answered {whole[-1].status}"
    return None
