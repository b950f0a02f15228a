"""The publisher and the router as processes of their own, as users run them. Owns their start, record and end."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from bench.sandbox.processes import Process, is_alive, send, spawn, wait_gone

TERM_PATIENCE = 15.0  # seconds for an orderly end before a process is killed


class Children:
    """Processes recorded in a file, so that a later command can end what this one left running."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "children.json"
        self.running: dict[str, Process] = {}
        if self._file.exists():
            document = json.loads(self._file.read_text(encoding="utf-8"))
            self.running = {name: Process(**one) for name, one in document.items()}

    def start(self, name: str, arguments: list[str]) -> None:
        """Run `fairlead ARGUMENTS`; what it says goes to NAME.log."""
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
        """End all: orderly, then by force. Sessions that remain are not waited for."""
        for number in (signal.SIGTERM, signal.SIGTERM):  # the second says: now
            for process in self.running.values():
                send(process, number)
        for process in self.running.values():
            if not wait_gone(process, TERM_PATIENCE):
                send(process, signal.SIGKILL)
                wait_gone(process, TERM_PATIENCE)
        self.running = {}
        self._file.unlink(missing_ok=True)

    def _record(self) -> None:
        document = {name: {"pid": one.pid, "start_time": one.start_time} for name, one in self.running.items()}
        self._directory.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(document), encoding="utf-8")
