"""``POST /dev/receiver``: a webhook target for a first task, and an example of how to write one.

It is there with ``aq serve --dev`` only. It verifies the signature, logs what arrived and answers as asked:
``/dev/receiver?status=500&delay=2`` fails after two seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import trio
from attrs import frozen
from quart import Response, request
from quart_trio import QuartTrio

from aq.api import views
from aq.api.query import parameters
from aq.delivery.signing import verify
from aq.engine import Engine
from aq.instants import from_seconds
from aq.rules import Integer, Number, Rule
from aq.texts import one_line

_QUERY: Final[Mapping[str, Rule]] = {"status": Integer(200, 599), "delay": Number(0, 60)}
_WITHOUT_BODY: Final = (204, 304)
_MOST_LOGGED: Final = 1_000
logger = logging.getLogger(__name__)


@frozen
class ReceiverRoutes:
    """``wall`` returns Unix seconds."""

    engine: Engine
    wall: Callable[[], float]

    def mount(self, app: QuartTrio) -> None:
        app.add_url_rule("/dev/receiver", "receiver", self.receive, methods=["POST"])

    async def receive(self) -> Response:
        """Answers 401 when the signature does not hold."""
        asked = {"status": 200, "delay": 0, **parameters(_QUERY)}
        body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        verify(dict(request.headers), body, self.engine.signing_secrets, from_seconds(self.wall()))
        logger.info("received %s", one_line(body.decode("utf-8", "replace")[:_MOST_LOGGED]))
        await trio.sleep(asked["delay"])
        status = asked["status"]
        if status in _WITHOUT_BODY:
            return views.nothing(status)
        return views.answer({"received": True}, status)
