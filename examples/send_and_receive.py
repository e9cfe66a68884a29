"""Send a task and receive it: a `Client`, and a receiver that believes only what the service signed.

It needs a running service, whose signing secret the receiver knows:

export AQ_SIGNING_SECRET=$(aq secret)
aq serve --dev                                  # prints a key
AQ_API_KEY=aq_live_… python examples/send_and_receive.py
"""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aq import Client, SignatureError, verify_webhook

SECRET = os.environ["AQ_SIGNING_SECRET"]
done: set[str] = set()  # in earnest: a table with a unique key, in the transaction that does the work


class Receiver(BaseHTTPRequestHandler):
    """Python's own server, so that nothing hides behind a framework."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))  # raw, before any parsing
        try:
            webhook = verify_webhook(self.headers, body, SECRET)
        except SignatureError as error:
            self.log_message("refused: %s", error)
            self.send_response(401)
        else:
            if webhook.id not in done:  # delivery is at least once: the same id is the same task
                print(f"attempt {webhook.attempt}: mail to {webhook.payload['to']}")
                done.add(webhook.id)
            self.send_response(204)
        self.end_headers()


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Client() as client:  # AQ_URL and AQ_API_KEY
        task = client.tasks.create(
            queue="emails",
            webhook_url=f"http://127.0.0.1:{server.server_port}/hooks/email",
            payload={"to": "ada@example.com"},
            delay=1,
        )
        print("sent", task.id)
        task = client.tasks.wait(task.id, timeout=30)
        print(task.status, "after", len(task.attempts), "attempt")
    server.shutdown()


if __name__ == "__main__":
    main()
