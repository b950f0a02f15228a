"""What is measured before the server that does nothing: the command runs, says what it found, and leaves no process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.peers.root import PEERS
from bench.sandbox.errors import SandboxError

SESSIONS = 2000  # of fewer, what a process takes or gives back meanwhile would hide their share
WHAT = ["--quick", "--only", "idle_sessions", "--only", "loop_lag", "--variants", "direct,fairlead"]


@pytest.mark.timeout(600)
@pytest.mark.skipif((os.cpu_count() or 1) < 2 or not shutil.which("taskset"), reason="needs two cores and taskset")
def test_sessions_that_wait_and_answers_while_sessions_come(tmp_path: Path) -> None:
    try:
        PEERS.ensure()  # fetching takes its time, once
    except SandboxError as exc:
        pytest.skip(str(exc))
    argv = [sys.executable, "-m", "bench.speed", *WHAT, "--sessions", str(SESSIONS), "--out", str(tmp_path)]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    own = re.search(
        rf"^fairlead: (-?[\d.]+) KiB of its own for each of {SESSIONS} sessions that wait", run.stdout, re.MULTILINE
    )
    assert own is not None, run.stdout
    assert float(own[1]) < 24
    for name in ("direct", "fairlead"):
        assert re.search(rf"^{name}: at 1000 new sessions a second an answer takes [\d.]+ ms", run.stdout, re.MULTILINE)
    document = (tmp_path / "speed.md").read_text()
    assert ("## Sessions that wait" in document, "## Answers while sessions come" in document) == (True, True)
