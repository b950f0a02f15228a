"""The publisher and the router as processes of their own, as users run them. Owns their start, record and end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from bench.sandbox.processes import Process, is_alive, send, spawn, wait_gone

# Seconds: for a drain, then for an end without one before a process is killed.
DRAIN_PATIENCE = 0.5
TERM_PATIENCE = 10.0


class DamagedRecordError(Exception):
    """What was left running cannot be read."""


class Children:
    """Processes recorded in a file, so that a later command can end what this one left running."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "children.json"
        self.running: dict[str, Process] = {}
        if self._file.exists():
            try:
                document = json.loads(self._file.read_text(encoding="utf-8"))
                self.running = {name: Process(**one) for name, one in document.items()}
            except (ValueError, TypeError, AttributeError) as exc:
                raise DamagedRecordError(
                    f"{self._file} is damaged: end the processes it is about, then delete it"
                ) from exc

    def start(self, name: str, arguments: list[str]) -> None:
        """Run `fairlead ARGUMENTS`; what it says goes to NAME.log."""
        self._directory.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "router.cli", *arguments]
        self.running[name] = spawn(argv, dict(os.environ), self.log(name))
        self._record()

    def log(self, name: str) -> Path:
        """Where a process's words go."""
        return self._directory / f"{name}.log"

    def alive(self, name: str) -> bool:
        """Whether that process runs."""
        return name in self.running and is_alive(self.running[name])

    def end(self) -> None:
        """End all: a drain for sessions that are just ending, then at once, then by force."""
        for number, patience in (
            (signal.SIGTERM, DRAIN_PATIENCE),
            (signal.SIGTERM, TERM_PATIENCE),
            (signal.SIGKILL, 5.0),
        ):
            for process in self.running.values():
                send(process, number)
            deadline = time.monotonic() + patience
            for process in self.running.values():
                wait_gone(process, max(0.0, deadline - time.monotonic()))
        self.running = {}
        self._file.unlink(missing_ok=True)

    def _record(self) -> None:
        document = {name: {"pid": one.pid, "start_time": one.start_time} for name, one in self.running.items()}
        self._file.write_text(json.dumps(document), encoding="utf-8")
