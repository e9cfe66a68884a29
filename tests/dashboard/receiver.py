"""A webhook target in this process that answers what its URL says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import parse_qs, urlencode, urlsplit

from attrs import field, frozen


@frozen
class Target:
    """``url(500, "text")`` is answered with that; ``held()`` not before ``go`` is set."""

    base: str
    go: Event = field(factory=Event)

    def url(self, code: int, body: str = "") -> str:
        return f"{self.base}/{code}?{urlencode({'body': body})}" if body else f"{self.base}/{code}"

    def held(self) -> str:
        return f"{self.base}/held"


@contextmanager
def receiving() -> Iterator[Target]:
    """On a free port of loopback."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = urlsplit(self.path)
            held = asked.path == "/held"
            if held:
                target.go.wait(30)
            body = parse_qs(asked.query).get("body", [""])[0].encode()
            self.send_response(200 if held else int(asked.path.strip("/")))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            """It says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    target = Target(f"http://127.0.0.1:{server.server_address[1]}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield target
    finally:
        target.go.set()
        server.shutdown()
        thread.join()
        server.server_close()
