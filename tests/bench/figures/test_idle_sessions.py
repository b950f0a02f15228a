"""The measurement of idle sessions runs, says what it measured, and leaves no process."""

from __future__ import annotations

import re
import subprocess
import sys

SESSIONS = 400


def test_it_tells_the_bytes_of_a_session_at_each_step() -> None:
    argv = [sys.executable, "-m", "bench.figures.idle_sessions", str(SESSIONS)]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    fresh = re.match(rf"{SESSIONS} sessions, idle, fresh: ([\d.]+) KiB each", lines[0])
    assert fresh is not None
    assert 0.5 < float(fresh[1]) < 100
    assert [line.split(",")[1].split(":")[0].strip() for line in lines[:2]] == ["idle", "idle"]
    assert "all closed" in lines[2]
    assert lines[-1].startswith("target 24 KiB: ")
