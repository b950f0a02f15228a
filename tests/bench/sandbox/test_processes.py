"""Real processes, but small ones."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from bench.sandbox.processes import Process, find_marked, is_alive, resident_bytes, send, spawn, wait_gone

SLEEP = ["/bin/sleep", "60"]


def test_a_process_is_known_until_it_ends(tmp_path: Path) -> None:
    process = spawn(SLEEP, {"MARK": str(tmp_path)}, tmp_path / "log")
    try:
        assert is_alive(process)
        assert find_marked("MARK", str(tmp_path)) == [process]
        assert os.getsid(process.pid) == process.pid
        assert resident_bytes(process) > 0
        assert not wait_gone(process, 0.01)
    finally:
        assert send(process, signal.SIGKILL)
    assert wait_gone(process, 5)
    assert not is_alive(process)
    assert find_marked("MARK", str(tmp_path)) == []
    assert not send(process, signal.SIGKILL)


def test_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    process = spawn(SLEEP, {}, tmp_path / "log")
    try:
        other = replace(process, start_time=process.start_time - 1)
        assert not is_alive(other)
        assert not send(other, signal.SIGKILL)
        assert wait_gone(other, 5)
        assert is_alive(process)
    finally:
        send(process, signal.SIGKILL)
        wait_gone(process, 5)


def test_a_pid_that_nobody_has_is_gone() -> None:
    nobody = Process(2**22 - 1, 1)
    assert not is_alive(nobody)
    assert wait_gone(nobody, 5)
    assert not send(nobody, signal.SIGTERM)


def test_what_a_process_says_is_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn(["/bin/sh", "-c", "echo one; echo two >&2"], {}, log)
    assert wait_gone(process, 5)
    assert log.read_text() == "one\ntwo\n"


def test_a_program_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        spawn(["/nonexistent"], {}, tmp_path / "log")
