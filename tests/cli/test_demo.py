"""``aq demo``: each scene shows what it says, nothing is left behind."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.cli.cli_world import AQ, process
from tests.server.serve_world import running


def test_every_scene_shows_what_it_says_and_nothing_is_left(tmp_path: Path) -> None:
    ended = process("demo", "--pause", "0", "--json", folder=tmp_path)
    assert ended.code == 0, ended.err
    figures = {scene.pop("scene"): scene for scene in ended.json}
    assert list(figures) == ["deliver", "delay", "priority", "retry", "rate_limit", "dead_endpoint"]
    assert figures["deliver"] == {"status": "completed"}
    assert figures["delay"]["waited"] >= 2
    assert figures["priority"] == {"order": [10, 5, 5, 1, 1]}
    assert figures["retry"] == {"codes": [500, 500, 200], "status": "completed"}
    assert len(figures["rate_limit"]["arrived"]) == 10
    assert figures["rate_limit"]["arrived"][-1] > 1.7  # ten starts, five a second, one at once
    assert figures["dead_endpoint"] == {"status": "failed", "attempts": 3, "error_type": "connect"}
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


async def test_an_interrupt_ends_it_with_130(tmp_path: Path) -> None:
    async with running(tmp_path, command=(*AQ, "demo")) as demo:
        demo.process.send_signal(signal.SIGINT)
        assert await demo.process.wait() == 130
    assert "Traceback" not in demo.logged
