"""MySQL Router itself with its HTTP API, for tests of what its users know."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.sandbox.servers import PRIVATE_HOME, SERVER_ID
from bench.speed.proxies import router_argv

USER, PASSWORD = "reader", "not much of a secret"
BASE = "/api/20190715"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class MySqlRouter:
    """A running one, with one route that leads to a list."""

    def __init__(self, directory: Path, destination: str) -> None:
        self.route_port, self.http_port = _free_port(), _free_port()
        sections: dict[str, dict[str, object]] = {
            "DEFAULT": {"logging_folder": "", "runtime_folder": PRIVATE_HOME, "data_folder": PRIVATE_HOME},
            "logger": {"level": "WARNING"},
            "http_server": {"port": self.http_port, "bind_address": "127.0.0.1"},
            "http_auth_realm:r": {"backend": "b", "method": "basic", "name": "r"},
            "http_auth_backend:b": {"backend": "file", "filename": f"{PRIVATE_HOME}/users"},
            **{name: {"require_realm": "r"} for name in ("rest_router", "rest_routing", "rest_host_cache")},
            "rest_api": {},
            "routing:rw": {
                "bind_address": "127.0.0.1",
                "bind_port": self.route_port,
                "destinations": destination,
                "routing_strategy": "first-available",
                "protocol": "classic",
            },
        }
        directory.mkdir()
        os.chown(directory, SERVER_ID, SERVER_ID)
        text = "".join(
            f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())
            for name, options in sections.items()
        )
        (directory / "router.conf").write_text(text)
        (directory / "users").touch()
        os.chown(directory / "users", SERVER_ID, SERVER_ID)
        self._directory = directory
        subprocess.run(
            router_argv(directory, "set", f"{PRIVATE_HOME}/users", USER, program="/usr/bin/mysqlrouter_passwd"),
            input=f"{PASSWORD}\n",
            text=True,
            check=True,
            capture_output=True,
            timeout=30,
        )
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                router_argv(directory, f"--config={PRIVATE_HOME}/router.conf"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def get(self, path: str) -> Any:
        """A document below the base."""
        credential = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{BASE}{path}", headers={"Authorization": f"Basic {credential}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=5) as reply:
            return json.load(reply)

    def wait(self) -> None:
        """Return when it answers."""
        deadline = time.monotonic() + 20
        while True:
            assert self._process.poll() is None, (self._directory / "log").read_text()
            try:
                self.get("/router/status")
            except (OSError, urllib.error.URLError):
                assert time.monotonic() < deadline, (self._directory / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def end(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


@contextmanager
def mysql_router(directory: Path, destination: str) -> Iterator[MySqlRouter]:
    """One that answers, ended whatever happens."""
    router = MySqlRouter(directory, destination)
    try:
        router.wait()
        yield router
    finally:
        router.end()
