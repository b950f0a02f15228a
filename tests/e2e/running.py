"""A router of static routes as a process of its own, and what it takes of the machine; ended whatever happens."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from bench.soak.record import Sample
from bench.soak.sampling import look
from bench.soak.visits import account_of, total
from tests.e2e.lone_server import free_port

PATIENCE = 30.0  # seconds until a test gives up


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.02)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Running:
    """A router that runs: its admin port, and what it logged."""

    def __init__(self, process: subprocess.Popen[bytes], admin: int, log: Path) -> None:
        self.process = process
        self.log = log
        self._admin = admin

    def get(self, path: str) -> Any:
        with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{self._admin}{path}", timeout=10) as reply:
            return json.load(reply)

    def route(self, name: str = "one") -> dict[str, Any]:
        [found] = [one for one in self.get("/api/v1/routes")["routes"] if one["name"] == name]
        return dict(found)

    def look(self) -> list[Sample]:
        """What the kernel and they themselves say of its processes now."""
        return look(f"127.0.0.1:{self._admin}", 0.0, 1)

    def unaccounted(self) -> int:
        """Sessions that it has accepted and knows nothing of."""
        return total(map(account_of, self.get("/api/v1/routes")["routes"])).unaccounted


@contextmanager
def router(
    tmp_path: Path, routes: Mapping[str, Mapping[str, object]], top: str = "", files: int = 0
) -> Iterator[Running]:
    """A router of these routes, of the classic protocol, ended whatever happens.

    Args:
        tmp_path: for its configuration and log.
        routes: their options besides the protocol.
        top: lines for the top of the configuration.
        files: the most it may open; 0: as many as this process.
    """
    admin, config, log = free_port(), tmp_path / "fairlead.toml", tmp_path / "router.log"
    text = f'{top}\n[admin]\nlisten = "127.0.0.1:{admin}"\n'
    for name, options in routes.items():
        lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
        text += f'[routes.{name}]\nprotocol = "classic"\n{lines}\n'
    config.write_text(text)
    limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
    with log.open("wb") as out:
        argv = [sys.executable, "-m", "router.cli", "router", "--config", str(config)]
        process = subprocess.Popen(argv, stderr=out, preexec_fn=limit)
    try:
        until(lambda: process.poll() is not None or accepts(admin), "it serves")
        assert process.poll() is None, log.read_text()
        running = Running(process, admin, log)
        until(lambda: all(running.route(name)["listening"] for name in routes), "all routes listen")
        yield running
        assert process.poll() is None, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
