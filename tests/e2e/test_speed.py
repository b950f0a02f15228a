"""The comparison with peers, once round quickly, as a developer runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.speed import proxies
from bench.speed.cases import DIRECT, OURS, QUICK_ROUNDS
from bench.speed.summary import decode

pytestmark = [pytest.mark.sandbox, pytest.mark.usefixtures("possible", "peers")]
CASE = "oltp_point_select/plain/8"


def start(mark: Mapping[str, str], out: Path, *arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "bench.speed", "--quick", "--only", CASE, "--out", str(out), *arguments]
    environment = {**os.environ, **mark}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_one_case(mark: Mapping[str, str], tmp_path: Path) -> None:
    said, _ = (process := start(mark, tmp_path)).communicate(timeout=100)
    assert process.returncode == 0, said
    rounds = decode((tmp_path / "rounds.json").read_text())
    assert Counter(one.variant for one in rounds) == dict.fromkeys(proxies.available(), QUICK_ROUNDS)
    assert {one.case for one in rounds} == {CASE}
    for one in rounds:
        assert one.queries > 100
        assert 0 < one.p50 <= one.p95 <= one.p99
        assert (one.cpu > 0) is (one.memory > 2**20) is (one.variant != DIRECT)
    # Whatever is between costs: a proxy that is as fast as none was not asked.
    slower = [one.throughput for one in rounds if one.variant == OURS]
    assert max(slower) < max(one.throughput for one in rounds if one.variant == DIRECT)
    assert f"{CASE}: throughput ≥ 1.15 × mysqlrouter" in said
    assert {path.name for path in tmp_path.iterdir()} == {"rounds.json", "idle.json", "speed.md", "speed.svg"}


def test_nothing_is_left_of_one_that_is_interrupted(mark: Mapping[str, str], tmp_path: Path) -> None:
    process = start(mark, tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if CASE in line:
            break
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
