"""How the endpoints of a simulated world behave: their temperaments, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, TypeAlias

import trio

from aq.sim.network import Answer, Arrival, Endpoint, dropped

Temperament: TypeAlias = Callable[[Random], Endpoint]
"""Makes an endpoint that draws from this chance."""

ABSURD: Final = ("", "-5", "0", "soon", "9" * 30 + "x", "Wed, 21 Oct 2015 07:28:00 GMT", "1.5", "٣")
"""Values of Retry-After that ask for nothing."""


def of_status(*statuses: int) -> Temperament:
    """Answers one of these, after a moment."""

    def temperament(random: Random) -> Endpoint:
        async def answer(arrival: Arrival) -> Answer:
            await trio.sleep(random.choice((0, 0.01, 0.2)))
            return Answer(random.choice(statuses), body=b"as told")

        return answer

    return temperament


def slow(random: Random) -> Endpoint:
    """Takes up to four seconds, which may be more than it is given."""

    async def answer(arrival: Arrival) -> Answer:
        await trio.sleep(random.uniform(0.3, 4))
        return Answer()

    return answer


def hanging(random: Random) -> Endpoint:
    """Does not answer, mostly."""

    async def answer(arrival: Arrival) -> Answer:
        if random.random() < 0.6:
            await trio.sleep_forever()
        await trio.sleep(random.uniform(0, 0.5))
        return Answer()

    return answer


def dropping(random: Random) -> Endpoint:
    """The connection breaks, before the work is done or after it."""

    async def answer(arrival: Arrival) -> Answer:
        await trio.sleep(random.choice((0, 0.05, 0.7)))
        if random.random() < 0.6:
            raise dropped()
        return Answer(201)

    return answer


def busy(random: Random) -> Endpoint:
    """Asks for pauses, with and without saying for how long."""

    async def answer(arrival: Arrival) -> Answer:
        await trio.sleep(random.choice((0, 0.01, 0.4)))
        if random.random() < 0.4:
            return Answer()
        wish = str(random.choice((1, 2, 3, 7, 65)))
        return Answer(random.choice((429, 503)), [("retry-after", wish)])

    return answer


def lying(random: Random) -> Endpoint:
    """Says odd things that mean nothing."""

    async def answer(arrival: Arrival) -> Answer:
        await trio.lowlevel.checkpoint()
        status = random.choice((200, 204, 299, 301, 429, 503, 700))
        junk = random.randbytes(random.choice((0, 10, 2_000)))
        return Answer(status, [("retry-after", random.choice(ABSURD)), ("x-junk", "\x7f")], junk)

    return answer


def flapping(random: Random) -> Endpoint:
    """Well and ill for some seconds each."""
    period, share = random.uniform(2, 20), random.random()

    async def answer(arrival: Arrival) -> Answer:
        await trio.sleep(0.05)
        ill = (trio.current_time() / period) % 1 < share
        return Answer(500 if ill else 200)

    return answer


def down(random: Random) -> Endpoint:
    """Nobody is there for a span, then all is well."""
    until = trio.current_time() + random.uniform(1, 60)

    async def answer(arrival: Arrival) -> Answer:
        await trio.lowlevel.checkpoint()
        if trio.current_time() < until:
            raise dropped()
        return Answer()

    return answer


QUICK: Final = of_status(200)
TEMPERAMENTS: Final[dict[str, Temperament]] = {
    "quick": QUICK,
    "slow": slow,
    "hanging": hanging,
    "dropping": dropping,
    "failing": of_status(500, 404, 301),
    "gone": of_status(410, 200, 500),
    "busy": busy,
    "lying": lying,
    "flapping": flapping,
    "down": down,
}
