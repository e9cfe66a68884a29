"""The browser that the tests drive: the Chromium of the machine, which Debian's apt brings along."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

MISSING: Final = (
    "these tests need Chromium: install it (on Debian: apt-get install chromium), or name it in the"
    " environment, as CHROMIUM=/opt/chromium/chrome"
)
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_APT: Final = (
    ("apt-get", "update", "--quiet"),
    ("apt-get", "install", "--quiet", "--yes", "--no-install-recommends", "chromium"),
)
_LOCK: Final = Path(tempfile.gettempdir(), "aq-tests-install-chromium.lock")
_SECONDS: Final = 600
"""For each of the two steps."""


def find() -> str | None:
    """Where it is: what CHROMIUM in the environment names, else the first of its usual names on the path."""
    named = os.environ.get("CHROMIUM")
    if named is not None:
        return shutil.which(named)
    return next((path for name in _NAMES if (path := shutil.which(name)) is not None), None)


def provide(say: Callable[[str], None]) -> None:
    """Install it by apt where it is missing and that can be: as root, on Debian and its kin.

    One at a time, also over processes. What goes wrong is said, and is for the tests to stumble over.
    """
    if find() is not None or "CHROMIUM" in os.environ or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if find() is None:
            say("Installing Chromium for the tests of the dashboard: apt-get install chromium (some minutes)")
            _install(say)


def _install(say: Callable[[str], None]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in _APT:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False
            )
        except subprocess.TimeoutExpired:
            say(f"{' '.join(command)} took longer than {_SECONDS} s and was ended")
            return
        if done.returncode:
            say(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
