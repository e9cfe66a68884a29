"""The webhooks of a run. The path says how they answer; every delivery is written down."""

from __future__ import annotations

import json
import time

import trio
from attrs import define

from benchmarks.kill9.ledger import TIMEOUT, Arrival, Ledger

KINDS = ("ok", "ok", "ok", "ok", "flaky", "fail", "hangup", "slow", "hang", "gone")
SLOW = 0.25
"""Seconds that ``slow`` takes to answer."""


@define
class Receiver:
    """``arrived`` is set, and made anew, at each delivery."""

    ledger: Ledger
    arrived: trio.Event

    async def serve(self, *, task_status: trio.TaskStatus[int]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
        task_status.started(listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(self._connection, listeners)

    async def _connection(self, stream: trio.SocketStream) -> None:
        async with stream:
            buffered = b""
            try:
                while (request := await _request(stream, buffered)) is not None:
                    path, task_id, body, buffered = request
                    if not await self._answer(stream, path, task_id, json.loads(body)["attempt"]):
                        return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the server died in mid-attempt

    async def _answer(self, stream: trio.SocketStream, path: str, task_id: str, attempt: int) -> bool:
        """Whether the connection goes on."""
        seen = self.ledger.arrivals[task_id]
        arrival = Arrival(task_id, attempt, time.time())
        seen.append(arrival)
        self.arrived.set()
        self.arrived = trio.Event()
        if path == "/hangup" and len(seen) == 1:
            arrival.over = time.time()
            return False
        if path == "/hang" and len(seen) == 1:
            await trio.sleep(TIMEOUT + 0.2)
            return False
        if path == "/slow":
            await trio.sleep(SLOW)
        failing = path == "/fail" or (path == "/flaky" and len(seen) < 3)
        arrival.status = 410 if path == "/gone" else 500 if failing else 200
        arrival.over = time.time()
        await stream.send_all(b"HTTP/1.1 %d Said\r\nContent-Length: 0\r\n\r\n" % arrival.status)
        return True


async def _request(stream: trio.SocketStream, data: bytes) -> tuple[str, str, bytes, bytes] | None:
    """(path, task id, body, bytes of the next request), or None at the end of the connection."""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        if not more:
            return None
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    length = int(headers["content-length"])
    while len(rest) < length:
        more = await stream.receive_some()
        if not more:
            return None
        rest += more
    return lines[0].split()[1], headers["webhook-id"], rest[:length], rest[length:]
