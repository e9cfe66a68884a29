"""A network that is not there: a `Transport` above which the real `WebhookRunner` signs and judges.

network = SimulatedNetwork()
network.endpoints["https://shop.example"] = answering(503, 503, 200)
async with open_engine(transport=network, …) as engine: …
assert [arrival.status for arrival in network.arrivals] == [503, 503, 200]
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import trio
from attrs import define, field, frozen

from aq.delivery.protocol import DeliveryError, WebhookRequest, WebhookResponse
from aq.outcome import ErrorType


@frozen
class Answer:
    """What an endpoint answers."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""


@define(eq=False)
class Arrival:
    """One request at an endpoint. ``task_id`` is its ``webhook-id``; ``attempt`` is None for a callback.

    Times are in seconds of Trio's clock. Once it is over it has either the ``status`` that was answered, or
    an ``error``; while it goes on, or when the sender let go of it, neither.
    """

    task_id: str
    attempt: int | None
    destination: str
    request: WebhookRequest = field(repr=False)
    began_at: float
    ended_at: float | None = None
    status: int | None = None
    error: ErrorType | None = None
    retry_after: str | None = None

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.request.body)


Endpoint: TypeAlias = Callable[[Arrival], Awaitable[Answer]]
"""Answers, takes its time, or raises `DeliveryError` for a connection that fails."""


def dropped() -> DeliveryError:
    """For an endpoint to raise: the connection breaks, and the sender knows no more than that."""
    return DeliveryError(ErrorType.RESET, "the connection was reset")


async def nobody(arrival: Arrival) -> Answer:
    """Where no endpoint is."""
    await trio.lowlevel.checkpoint()
    raise DeliveryError(ErrorType.CONNECT, "nobody listens there")


def answering(*statuses: int, takes: float = 0) -> Endpoint:
    """An endpoint that answers these in turn, the last one for ever, after ``takes`` seconds."""
    left = list(statuses)

    async def answer(arrival: Arrival) -> Answer:
        await trio.sleep(takes)
        return Answer(left.pop(0) if len(left) > 1 else left[0])

    return answer


class SimulatedNetwork:
    """A `aq.delivery.protocol.Transport`. Where no endpoint is, connections are refused.

    ``began`` and ``ended`` are called with each arrival.
    """

    def __init__(
        self,
        *,
        began: Callable[[Arrival], object] = lambda arrival: None,
        ended: Callable[[Arrival], object] = lambda arrival: None,
    ) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        """By destination: scheme, host and port if it is not the usual one."""
        self.arrivals: list[Arrival] = []
        self.cut = False
        """Nothing more leaves: whoever sends is dead, and will be told so."""
        self._began = began
        self._ended = ended

    async def send(self, request: WebhookRequest) -> WebhookResponse:
        """One exchange; cancelled, the endpoint's work is cut off where it is."""
        if self.cut:
            await trio.sleep_forever()
        arrival = self._arrive(request)
        try:
            answer = await self.endpoints.get(arrival.destination, nobody)(arrival)
        except DeliveryError as error:
            arrival.error = error.error_type
            raise
        else:
            arrival.status = answer.status
            arrival.retry_after = dict(answer.headers).get("retry-after")
            return WebhookResponse(answer.status, answer.headers, answer.body)
        finally:
            arrival.ended_at = trio.current_time()
            if not self.cut:
                self._ended(arrival)

    def _arrive(self, request: WebhookRequest) -> Arrival:
        request.stopwatch.start()
        body = json.loads(request.body) if request.body else {}
        arrival = Arrival(
            task_id=dict(request.headers)["webhook-id"],
            attempt=body.get("attempt"),
            destination=str(request.target.destination),
            request=request,
            began_at=trio.current_time(),
        )
        self.arrivals.append(arrival)
        self._began(arrival)
        return arrival

    async def aclose(self) -> None:
        """Nothing is kept open."""
        await trio.lowlevel.checkpoint()
