"""For every test."""

from __future__ import annotations

import signal

# Whoever is started in the background of a script ignores interrupts, and so does all that he starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
