# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, misc"
# It runs in an environment of its own, whose packages are not ours.
"""beanstalkd: Python processes, each with a connection to it and one to the receiver.

beanstalkd.py PORT add|pace|work ARGUMENTS-AS-JSON     (see main.mjs)
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import greenstalk

PRODUCERS = 4


def job(url: str, at: float) -> str:
    body = json.dumps({"payload": {"at": f"{at:018.6f}", "filler": "x" * 60}}, separators=(",", ":"))
    return json.dumps({"url": url, "body": body})


def forked(number: int, work: Callable[[int], None]) -> list[int]:
    children = []
    for place in range(number):
        if not (child := os.fork()):
            work(place)
            os._exit(0)
        children.append(child)
    return children


def add(port: int, jobs: int, url: str, **_: object) -> dict[str, float]:
    def produce(place: int) -> None:
        client = greenstalk.Client(("127.0.0.1", port))
        for _ in range(place, jobs, PRODUCERS):
            client.put(job(url, time.perf_counter()))

    began = time.perf_counter()
    for child in forked(PRODUCERS, produce):
        os.waitpid(child, 0)
    return {"rate": jobs / (time.perf_counter() - began), "began": began}


def pace(port: int, jobs: int, rate: float, url: str) -> dict[str, float]:
    client = greenstalk.Client(("127.0.0.1", port))
    began = time.perf_counter()
    for number in range(jobs):
        when = began + number / rate
        time.sleep(max(0.0, when - time.perf_counter()))
        client.put(job(url, when))
    return {"began": began}


def work(port: int) -> dict[str, float]:
    """Until it is terminated."""
    client = greenstalk.Client(("127.0.0.1", port))
    receiver: socket.socket | None = None
    while True:
        taken = client.reserve()
        told = json.loads(taken.body)
        parts, body = urlsplit(told["url"]), told["body"].encode()
        if receiver is None:
            receiver = socket.create_connection((parts.hostname, parts.port))
            receiver.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        receiver.sendall(head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        if not receiver.recv(65_536).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("the receiver did not say 200")
        client.delete(taken)


COMMANDS: dict[str, Callable[..., dict[str, float]]] = {"add": add, "pace": pace, "work": work}

if __name__ == "__main__":
    given = json.loads(sys.argv[3])
    print(json.dumps(COMMANDS[sys.argv[2]](int(sys.argv[1]), **given)))
