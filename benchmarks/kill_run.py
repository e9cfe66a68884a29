"""2,000 tasks, and a server that is killed with -9 five times on the way.

    python -m benchmarks.kill_run [--tasks N] [--kills N] [--seed N]

Tasks of mixed priorities and delays go to endpoints that work, fail twice, always fail, hang up, or are
slow, while the server is killed and started again on the same database. In the end every acknowledged task
must have ended; none delivered before its time; none attempted more than max_retries + 1 + (kills while it
was in flight) times; none that was deleted delivered. Exit code 0 only when all of that holds.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
import time
from datetime import datetime
from functools import partial
from typing import Any

import httpx
import trio

from benchmarks.server import Server, until

MAX_RETRIES = 3
KINDS = ("ok", "ok", "ok", "flaky", "fail", "hangup", "slow")


class Receiver:
    """Remembers when which attempt of which task arrived, and answers as the path says."""

    def __init__(self) -> None:
        self.arrivals: dict[str, list[float]] = collections.defaultdict(list)

    async def serve(self, *, task_status: trio.TaskStatus[int]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
        task_status.started(listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(self._connection, listeners)

    async def _connection(self, stream: trio.SocketStream) -> None:
        buffered = b""
        try:
            while (request := await _request(stream, buffered)) is not None:
                path, task_id, buffered = request
                self.arrivals[task_id].append(time.time())
                if path == "/hangup" and len(self.arrivals[task_id]) == 1:
                    return
                if path == "/slow":
                    await trio.sleep(0.3)
                failing = path == "/fail" or (path == "/flaky" and len(self.arrivals[task_id]) < 3)
                status = b"500 No" if failing else b"200 OK"
                await stream.send_all(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the server was killed in mid-attempt


async def _request(stream: trio.SocketStream, data: bytes) -> tuple[str, str, bytes] | None:
    """(path, task id, bytes of the next request), or None at the end of the connection."""
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
    return lines[0].split()[1], headers["webhook-id"], rest[length:]


class Run:
    """What was asked and acknowledged, and what came of it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.count, self.kills = arguments.tasks, arguments.kills
        self.random = random.Random(arguments.seed)
        self.receiver = Receiver()
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.deleted: set[str] = set()
        self.unanswered = 0

    async def __call__(self, directory: str) -> int:
        self.server = Server(directory)
        async with trio.open_nursery() as nursery:
            self.port = await nursery.start(self.receiver.serve)
            await self.server.start()
            async with self.server.client() as self.client:
                async with trio.open_nursery() as loading:
                    for _ in range(8):
                        loading.start_soon(self.submit_all)
                    loading.start_soon(self.keep_killing)
                await self.wait_until_ended()
                wrong = await self.judge()
            exit_code = self.server.stop()
            nursery.cancel_scope.cancel()
        print(f"SIGTERM at the end: exit {exit_code}")
        return 1 if wrong or exit_code else 0

    async def submit_all(self) -> None:
        while len(self.acknowledged) < self.count:
            kind = self.random.choice(KINDS)
            body = {
                "queue": f"kill-{self.random.randrange(3)}",
                "webhook_url": f"http://127.0.0.1:{self.port}/{kind}",
                "payload": {"kind": kind},
                "priority": self.random.randint(1, 10),
                "delay": self.random.choice([0, 0, 1, 2, 4]),
                "max_retries": MAX_RETRIES,
            }
            response = await self.answered("POST", "/v1/tasks", json=body)
            if response is None:
                self.unanswered += 1
                continue
            assert response.status_code == 201, response.text
            task = response.json()
            self.acknowledged[task["id"]] = task
            if body["delay"] == 4 and self.random.random() < 0.3:
                await self.delete(task["id"])

    async def delete(self, task_id: str) -> None:
        response = await self.answered("DELETE", f"/v1/tasks/{task_id}")
        if response is None or response.status_code != 204:
            return
        self.deleted.add(task_id)

    async def answered(self, method: str, path: str, **kwargs: Any) -> httpx.Response | None:
        """One request; None where the server died before its answer. Waits for the next life then."""
        try:
            return await self.client.request(method, path, **kwargs)
        except httpx.TransportError:
            await trio.sleep(0.3)
            return None

    async def keep_killing(self) -> None:
        for number in range(self.kills):
            target = self.count * (number + 1) // (self.kills + 1)
            await until(partial(self.reached, target), every=0.005)
            self.server.kill()
            print(f"kill -9 number {number + 1} after {len(self.acknowledged)} acknowledged tasks")
            await self.server.start()

    async def reached(self, target: int) -> bool:
        return len(self.acknowledged) >= target

    async def wait_until_ended(self) -> None:
        with trio.fail_after(120):
            await until(self.all_ended, every=0.25)
        print(file=sys.stderr)

    async def all_ended(self) -> bool:
        left = 0
        for status in ("pending", "active"):
            answer = await self.client.get("/v1/tasks", params={"status": status, "limit": 1})
            left += answer.json()["pagination"]["total"]
        print(f"\r{left:5} tasks left ", end="", file=sys.stderr)
        return not left

    async def judge(self) -> int:
        """Compare what was promised with what came of it; prints a table, returns the number of faults."""
        lost, early, too_often, revived, ends, attempts = [], [], [], [], collections.Counter[str](), 0
        for task_id, task in self.acknowledged.items():
            response = await self.client.get(f"/v1/tasks/{task_id}")
            arrivals = self.receiver.arrivals.get(task_id, [])
            attempts += len(arrivals)
            if task_id in self.deleted:
                ends["deleted"] += 1
                revived += [task_id] if arrivals or response.status_code != 404 else []
                continue
            if response.status_code != 200:
                lost.append(task_id)
                continue
            known = response.json()
            ends[known["status"]] += 1
            lost += [task_id] if known["status"] not in ("completed", "failed") else []
            due = _unix(task["created_at"]) + task["delay"]
            early += [task_id] if arrivals and arrivals[0] < due - 0.001 else []
            unknown = sum(a["status"] == "unknown" for a in known["attempts"])
            if len(known["attempts"]) > MAX_RETRIES + 1 + unknown or unknown > self.kills:
                too_often.append(task_id)
            if len(arrivals) > MAX_RETRIES + 1 + unknown:
                too_often.append(task_id)
        print(f"acknowledged {len(self.acknowledged)}, not answered (killed or restarting) {self.unanswered}")
        print(f"ended: {dict(ends)}; deliveries received {attempts}")
        print(f"lost {len(lost)}, early {len(early)}, too often {len(too_often)}, ", end="")
        print(f"delivered after their deletion {len(revived)}")
        return len(lost) + len(early) + len(too_often) + len(revived)


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{arguments.tasks} tasks, {arguments.kills} kills, seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as directory:
        return trio.run(Run(arguments), directory)


if __name__ == "__main__":
    sys.exit(main())
