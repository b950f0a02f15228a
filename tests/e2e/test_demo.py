"""The demonstration as a newcomer runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300), pytest.mark.usefixtures("possible")]


def start(directory: Path, mark: Mapping[str, str], *arguments: str, keep: bool = False) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "router.cli", "demo", "--dir", str(directory), *arguments]
    environment = {**os.environ, **mark, "KEEP": "1" if keep else ""}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def namespaces() -> list[str]:
    """The names of network namespaces on this machine."""
    directory = Path("/run/netns")
    return sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []


def test_it_accounts_for_every_write_and_leaves_nothing(
    directory: Path, mark: Mapping[str, str], tmp_path: Path
) -> None:
    before = namespaces()
    report = tmp_path / "report.json"
    with start(directory, mark, "--json", str(report)) as demo:
        said, _ = demo.communicate()
    assert demo.returncode == 0, said
    summary = json.loads(report.read_text())
    assert summary["writes_missing"] == 0
    assert summary["writes_acknowledged"] > 100
    for event in ("switchover", "kill"):
        one = summary[event]
        assert one["events"] == 1
        assert one["gap_s"] > 0
        assert one["group_s"] > 0
        # Bounds against a fault, not a claim of speed: that is what the demonstration's own report is for.
        assert -1 < one["added_s"] < 5
    assert set(summary["reads_by_member"]) == {"mysql-0", "mysql-1", "mysql-2"}
    assert all(isinstance(count, int) for count in summary["errors"].values())
    assert "of these missing      0" in said
    assert namespaces() == before


def test_interrupted_it_leaves_nothing(directory: Path, mark: Mapping[str, str]) -> None:
    before = namespaces()
    with start(directory, mark, "--switchovers", "1000") as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "switchover:" in line:
                break
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
        demo.wait()
    assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    assert namespaces() == before


def test_kept_it_stays_up_until_it_is_ended(directory: Path, mark: Mapping[str, str]) -> None:
    before = namespaces()
    with start(directory, mark, "--switchovers", "0", "--kills", "0", keep=True) as demo:
        said, _ = demo.communicate()
    try:
        assert demo.returncode == 0, said
        found = re.search(r"fairlead status --admin (\S+);", said)
        assert found, said
        status = [sys.executable, "-m", "router.cli", "status", "--admin", found.group(1)]
        assert "classic_rw" in subprocess.run(status, capture_output=True, text=True, check=True).stdout
    finally:
        with start(directory, mark, "--end") as end:
            ended, _ = end.communicate()
    assert (end.returncode, ended) == (0, "ended\n")
    assert namespaces() == before


def test_a_sandbox_that_is_somebodys_own_is_left_alone(directory: Path, mark: Mapping[str, str]) -> None:
    (directory / "sandbox").mkdir(parents=True)
    (directory / "sandbox" / "precious").touch()
    with start(directory, mark) as demo:
        said, _ = demo.communicate()
    assert demo.returncode == 1
    assert "is not a demonstration's" in said
    assert (directory / "sandbox" / "precious").exists()
