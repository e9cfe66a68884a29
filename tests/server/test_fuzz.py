"""A short run of ``make fuzz``, and that its judgement can be trusted."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio

from aq.opening import open_engine
from aq.task import NewTask
from benchmarks.fuzz.cases import Case, Cases
from benchmarks.fuzz.exchange import Answer, exchange
from benchmarks.fuzz.forms import Form
from benchmarks.fuzz.ledger import Ledger, log_problems
from benchmarks.fuzz.run import Run

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def test_3000_mutated_requests_are_answered_and_believed_as_little_as_they_deserve(
    tmp_path: Path,
) -> None:
    run = Run(3_000, 3, lambda made: None)
    await run(str(tmp_path))
    assert not run.faults, "\n".join(run.faults)
    assert run.made >= 3_000
    assert run.ledger.statuses.keys() >= {200, 201, 204, 400, 401, 404, 405, 409, 413, 415, 422, 431}
    assert len(run.ledger.told) > 50


def test_a_case_is_made_of_its_seed_and_number_alone() -> None:
    form = Form("POST", "/v1/tasks", {}, (), {"queue": "q"}, {"queue": {}})
    cases = [Cases(7, [form], {}, "key").case(number) for number in range(50)]
    assert cases == [Cases(7, [form], {}, "key").case(number) for number in range(50)]
    assert cases != [Cases(8, [form], {}, "key").case(number) for number in range(50)]


# -- what is a fault ----------------------------------------------------------------------------------------
@asynccontextmanager
async def answering(data: bytes) -> AsyncIterator[int]:
    """A server that answers whatever comes with these bytes and closes; its port."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(data)
            await stream.send_eof()
            async for _ in stream:
                """Until the client has closed."""

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, answer, 0)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (OK * 2, None),
        (OK + NO, None),
        (NO, None),
        (OK, "1 answers to 2 requests"),
        (b"", "closed without an answer"),
        (OK + OK[:-1], "cut"),
        (b"hello\r\n\r\n", "malformed"),
    ],
)
async def test_an_answer_that_is_missing_cut_or_malformed_is_a_fault(sent: bytes, fault: str | None) -> None:
    async with answering(sent) as port:
        came = await exchange(port, Case(1, [GET[:9], GET[9:] + GET], ["GET", "GET"]))
    assert (came.fault is None) is (fault is None)
    assert (fault or "") in (came.fault or "")


async def test_a_good_request_must_succeed() -> None:
    async with answering(OK + NO) as port:
        came = await exchange(port, Case(1, [GET * 2], ["GET", "GET"], canary=True))
    assert came.fault == "a good request at the end is answered 400"


async def test_garbled_bytes_must_be_answered_too() -> None:
    for sent, fault in ((NO, None), (b"", "closed without an answer")):
        async with answering(sent) as port:
            assert (await exchange(port, Case(1, [b"x"], None))).fault == fault


PROBLEM = {"content-type": "application/problem+json", "x-request-id": "1"}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, PROBLEM, b"{}"),
        Answer(503, PROBLEM, b"{}"),
        Answer(404, {**PROBLEM, "content-type": "text/html"}, b""),
        Answer(404, {"content-type": "application/problem+json"}, b"{}"),
        Answer(422, PROBLEM, b'{"errors": []}'),
    ],
    ids=lambda answer: f"{answer.status} {answer.headers}",
)
def test_wrong_answers_are_faults(answer: Answer) -> None:
    assert Ledger("q").note(answer)


def test_right_answers_are_none() -> None:
    ledger = Ledger("q")
    assert ledger.note(Answer(503, {**PROBLEM, "retry-after": "1"}, b"{}")) is None
    assert ledger.note(Answer(422, PROBLEM, b'{"errors": [{"field": "a"}]}')) is None
    assert ledger.statuses == {503: 1, 422: 1}


async def test_the_books_and_the_store_must_agree(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/aq.db"
    async with open_engine(url, grace=0) as engine:
        ids = [(await engine.submit(NewTask("q", "http://example.com/", delay=3_600))).id for _ in range(2)]
    assert await Ledger("q", dict.fromkeys(ids, "q")).compare(url) == []
    (secret,) = await Ledger("q", {ids[0]: "q"}).compare(url)
    assert secret == f"1 tasks are stored that nobody was told of, such as {ids[1]}"
    more = {**dict.fromkeys(ids, "q"), "task_gone": "q", "task_of_another": "r"}
    assert await Ledger("q", more).compare(url) == ["1 acknowledged tasks are gone, after 0 deletions"]
    assert await Ledger("q", more, deletions=1).compare(url) == []
    with closing(sqlite3.connect(tmp_path / "aq.db")) as file:
        file.execute("UPDATE queues SET pending = pending + 1")
        file.commit()
    (false,) = await Ledger("q", dict.fromkeys(ids, "q")).compare(url)
    assert false.startswith("the audit says: ")


def test_tracebacks_and_errors_in_the_log_are_faults(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("aq is ready\n2026-01-31 09:30:00,000 WARNING aq.server: x\n")
    assert log_problems(log) == []
    log.write_text(
        "2026-01-31 09:30:00,000 ERROR aq: x\n  + Exception Group Traceback (most recent call last):\n"
    )
    assert len(log_problems(log)) == 2
