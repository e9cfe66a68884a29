"""`aq serve --otel`: spans go out to a collector, whatever it does; and nothing else needs the extra."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import h11
import pytest
import trio
from attrs import define, field
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.server.serve_world import KEY, client, running


@define
class Collector:
    """Takes what is exported to it, or lets it wait for ever."""

    url: str = ""
    bodies: list[bytes] = field(factory=list)

    @asynccontextmanager
    async def open(self, *, answers: bool = True) -> AsyncIterator[Collector]:
        async def take(stream: trio.SocketStream) -> None:
            parser = h11.Connection(h11.SERVER)
            body = b""
            while not isinstance(event := parser.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    parser.receive_data(bytes(await stream.receive_some()))
                elif isinstance(event, h11.Data):
                    body += event.data
            self.bodies.append(body)
            if not answers:
                await trio.sleep_forever()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        async with trio.open_nursery() as nursery:
            (listener, *_) = await nursery.start(trio.serve_tcp, take, 0)
            self.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            yield self
            nursery.cancel_scope.cancel()

    @property
    def spans(self) -> list[str]:
        """Their names."""
        found = []
        for body in self.bodies:
            plain = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
            request = ExportTraceServiceRequest.FromString(plain)
            for resource in request.resource_spans:
                found += [span.name for scope in resource.scope_spans for span in scope.spans]
        return found


OTEL = ("--storage", "memory:", "--otel", "--allow", "127.0.0.0/8")


@pytest.mark.parametrize("answers", [True, False])
async def test_spans_are_sent_to_a_collector_and_none_holds_up_the_end(tmp_path: Path, answers: bool) -> None:
    async with Collector().open(answers=answers) as collector:
        environment = {
            "AQ_API_KEY": KEY,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3600",  # no end of the exporter's own
        }
        async with running(tmp_path, *OTEL, **environment) as server, client(server.url) as api:
            task = {"queue": "q", "webhook_url": "http://127.0.0.1:9/", "max_retries": 0}
            made = (await api.post("/v1/tasks", json=task)).json()
            await api.get(f"/v1/tasks/{made['id']}?wait=20")
            server.terminate()
            assert await server.process.wait() == 0
        assert sorted(collector.spans) == ["create q", "deliver q"]


async def test_a_collector_that_is_not_there_costs_nothing_but_the_spans(tmp_path: Path) -> None:
    environment = {"AQ_API_KEY": KEY, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    async with running(tmp_path, *OTEL, **environment) as server, client(server.url) as api:
        task = {"queue": "q", "webhook_url": "http://127.0.0.1:9/"}
        assert (await api.post("/v1/tasks", json=task)).status_code == 201
        server.terminate()
        assert await server.process.wait() == 0


def without_the_extra(*args: str) -> subprocess.CompletedProcess[str]:
    """``python …`` where no part of OpenTelemetry can be imported."""
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'opentelemetry':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocked)\n"
        "exec(sys.argv.pop(1))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_the_extra_everything_else_works() -> None:
    modules = "aq, aq.server, aq.cli, aq.telemetry.metrics, aq.telemetry.logs, aq.api.app, aq.client"
    done = without_the_extra(f"import {modules}; print('opentelemetry' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_without_the_extra_otel_says_what_is_lacking() -> None:
    done = without_the_extra("from aq.cli import main; main()", "serve", "--otel", "--storage", "memory:")
    assert done.returncode == 2
    assert "asyncqueue[otel]" in done.stderr
    assert "Traceback" not in done.stderr
