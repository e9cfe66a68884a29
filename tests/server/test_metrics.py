"""`/metrics` of `aq serve`: beside the API, or on a port of its own."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import trio

from tests.server.serve_world import KEY, SERVE, client, running, serving
from tests.telemetry.scrape import Scrape


async def test_beside_the_api_without_a_key() -> None:
    async with serving(storage="memory:", api_key=KEY) as server, client(server.url, None) as anyone:
        reply = await anyone.get("/metrics")
        assert reply.status_code == 200
        assert Scrape(reply.text).value("aq_http_connections") == 1


async def test_on_a_port_of_its_own_it_is_gone_from_the_other(tmp_path: Path) -> None:
    apart = ["--metrics-port", "0", "--storage", "memory:"]
    async with running(tmp_path, *apart, AQ_API_KEY=KEY) as server:
        (url,) = re.findall(r"Metrics +(\S+)", server.said)
        async with client(server.url) as api, httpx.AsyncClient(trust_env=False) as prometheus:
            assert (await api.get("/metrics")).status_code == 404
            assert "/metrics" not in (await api.get("/openapi.json")).json()["paths"]
            assert (await api.get("/v1/tasks")).status_code == 200
            scrape = Scrape((await prometheus.get(url)).text)
            assert (await prometheus.get(url.replace("/metrics", "/v1/tasks"))).status_code == 404
    answered = scrape.all("aq_http_requests_total")
    assert answered["GET", "/v1/tasks", "200"] == 1
    assert answered["_none", "_none", "404"] == 1


async def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    async with serving(storage="memory:", api_key=KEY) as server:
        port = server.url.rpartition(":")[2]
        process = await trio.run_process(
            [*SERVE, "--storage", "memory:", "--metrics-port", port],
            cwd=tmp_path,
            check=False,
            capture_stderr=True,
        )
    assert process.returncode == 1
    assert process.stderr.decode().startswith(f"Error: cannot listen on 127.0.0.1:{port}")
    assert b"--metrics-port or AQ_METRICS_PORT takes another" in process.stderr
    assert process.stderr.count(b"\n") == 1
