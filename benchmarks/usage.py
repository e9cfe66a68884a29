"""What a process costs, read from /proc (Linux)."""

from __future__ import annotations

import os
import re
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def memory(pid: int, *, peak: bool = False) -> float:
    """MiB of RSS, now or at its highest."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status)[0]) / 1024


def cpu(pid: int) -> float:
    """Seconds of processor time so far, of all threads; in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
