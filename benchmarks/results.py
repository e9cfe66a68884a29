"""What was measured, where and when: kept as JSON, so that a table and its plots can be drawn again."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cattrs
from attrs import define, field

ROOT = Path(__file__).parent.parent
PRIVATE = ROOT / ".bench/results"
PUBLISHED = ROOT / "benchmarks/results"
PAGE = ROOT / "docs/benchmarks.md"


@define
class Results:
    """``runs`` are the figures of each run by scenario; ``missing`` says why a peer was not measured."""

    machine: dict[str, Any]
    runs: dict[str, list[dict[str, float]]] = field(factory=dict)
    missing: dict[str, str] = field(factory=dict)

    def add(self, scenario: str, figures: dict[str, float]) -> None:
        rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
        self.runs.setdefault(scenario, []).append(rounded)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(cattrs.unstructure(self), indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Results:
    return cattrs.structure(json.loads(path.read_text()), Results)


def this_machine(command: str) -> dict[str, Any]:
    """What a figure is worth nothing without."""
    packages = ("trio", "httptools", "hypercorn", "quart-trio")
    return {
        "command": command,
        "at": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{name: version(name) for name in packages},
        },
        "durability": "SQLite, journal_mode=WAL, synchronous=FULL; webhooks signed; one server process",
    }


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
