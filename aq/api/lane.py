"""The intake lane: the two requests that make tasks, answered in front of Hypercorn and Quart.

A connection begins here. A good request is checked and done by the code that Quart's routes call, and its
answer is the same. The first request that is anything else hands the connection to Hypercorn for good, and
is the first that Hypercorn gets: so all that is rare, and every refusal of a request, is Quart's. Until then
nothing was done for it, and nothing counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Final

import trio
from attrs import field, frozen

from aq.api import creation
from aq.api.answer import Answer
from aq.api.auth import check_scope, presented_grant, scope_of
from aq.api.body import is_usual, parse_object
from aq.api.connection import Connection
from aq.api.creation import Creator, Make
from aq.api.limits import RateLimits
from aq.api.problems import answer_to
from aq.api.requests import request_id
from aq.api.wire import Request
from aq.engine import Engine
from aq.telemetry.traffic import Traffic

_HOT: Final[Mapping[bytes, Creator]] = {b"/v1/tasks": creation.one, b"/v1/tasks/batch": creation.many}
_SCOPE: Final = scope_of("/v1/tasks", "POST")
_LAST: Final[Mapping[str, bool]] = {"": False, "keep-alive": False, "close": True}
"""What may be said of the connection: whether it is closed behind the answer."""


class _Headers(dict[str, str]):
    """Of a request that has none of them twice."""

    def getlist(self, name: str, /) -> list[str]:
        return [self[name]] if name in self else []


@frozen
class _Good:
    """A request that the lane answers. ``told`` are the headers that do not depend on the answer."""

    make: Make
    told: Mapping[str, str]
    last: bool
    key_id: str


@frozen
class Lane:
    """``limits`` and ``traffic`` are those of the app behind: a request counts alike through both doors."""

    engine: Engine
    limits: RateLimits
    traffic: Traffic = field(factory=Traffic)

    async def serve(self, connection: Connection) -> bool:
        """Until the connection ends, or a request comes that is Hypercorn's: True then."""
        try:
            while (request := await connection.next_request()) is not None:
                began = perf_counter()
                good = self._judge(request)
                if good is None:
                    connection.give_back(request)
                    return True
                answer = await self._answer(good, request)
                self._count(request, good, answer, perf_counter() - began)
                await connection.answer(answer.head(good.told, last=good.last) + answer.body, last=good.last)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return False

    def _judge(self, request: Request) -> _Good | None:
        """None for whatever is not hot, not good or not plain. To count is the last thing that it does."""
        create = _HOT.get(request.target)
        if create is None or request.method != b"POST" or request.version != b"1.1":
            return None
        headers = _Headers((name.decode(), value.decode("latin-1")) for name, value in request.headers)
        last = _LAST.get(headers.get("connection", ""))
        if last is None or len(headers) < len(request.headers) or not is_usual(headers):
            return None
        try:
            grant = presented_grant(self.engine.keys, headers)
            check_scope(grant, _SCOPE)
            make = create(self.engine, parse_object(request.body), headers, grant)
            standing = self.limits.take(grant)
            if standing is not None:
                standing.check()
        except Exception:  # noqa: BLE001 - Quart meets it too, and answers
            return None
        told = {} if standing is None else standing.headers
        return _Good(make, {**told, "X-Request-Id": request_id(headers)}, last, grant.key_id)

    def _count(self, request: Request, good: _Good, answer: Answer, seconds: float) -> None:
        route, told = request.target.decode(), good.told["X-Request-Id"]
        self.traffic.answered("POST", route, answer.status, seconds, told, good.key_id)

    async def _answer(self, good: _Good, request: Request) -> Answer:
        try:
            return await good.make()
        except Exception as error:  # noqa: BLE001 - it is answered, and logged if nobody expects it
            return answer_to(error, good.told["X-Request-Id"], "POST", request.target.decode())
