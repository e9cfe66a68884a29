# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, misc"
# It runs in an environment of its own, whose packages are not ours.
"""Dramatiq on Redis: its own worker processes and threads, a connection to the receiver for each thread.

dramatiq_jobs.py PORT add|pace ARGUMENTS-AS-JSON       (see main.mjs; dramatiq's own command works)
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from urllib.parse import urlsplit

import dramatiq
from dramatiq.brokers.redis import RedisBroker

PRODUCERS = 4
PORT = int(os.environ["PEERS_PORT"])
dramatiq.set_broker(RedisBroker(host="127.0.0.1", port=PORT))
local = threading.local()


@dramatiq.actor(max_retries=3)
def post(url: str, body: str) -> None:
    parts = urlsplit(url)
    if not hasattr(local, "receiver"):
        local.receiver = HTTPConnection(parts.netloc)
    local.receiver.request("POST", parts.path, body, {"Content-Type": "application/json"})
    answer = local.receiver.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"the receiver said {answer.status}")


def body(at: float) -> str:
    return json.dumps({"payload": {"at": f"{at:018.6f}", "filler": "x" * 60}}, separators=(",", ":"))


def add(jobs: int, url: str, **_: object) -> dict[str, float]:
    began = time.perf_counter()
    children = []
    for place in range(PRODUCERS):
        if not (child := os.fork()):
            post.broker.client.connection_pool.reset()  # a connection of its own
            for _number in range(place, jobs, PRODUCERS):
                post.send(url, body(time.perf_counter()))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return {"rate": jobs / (time.perf_counter() - began), "began": began}


def pace(jobs: int, rate: float, url: str) -> dict[str, float]:
    began = time.perf_counter()
    for number in range(jobs):
        when = began + number / rate
        time.sleep(max(0.0, when - time.perf_counter()))
        post.send(url, body(when))
    return {"began": began}


COMMANDS: dict[str, Callable[..., dict[str, float]]] = {"add": add, "pace": pace}

if __name__ == "__main__":
    given = json.loads(sys.argv[3])
    print(json.dumps(COMMANDS[sys.argv[2]](**given)))
