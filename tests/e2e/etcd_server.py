"""A real etcd for tests, from Debian's packages: started, stopped, frozen, thawed; its data stay until the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.routing import until

ENTER = 'mount --bind "$1" "$2/srv"; root="$2"; shift 2; exec chroot "$root" "$@"'


class EtcdServer:
    """One server on loopback, in a mount namespace of its own."""

    def __init__(self, root: Path, directory: Path, *extra: str, scheme: str = "http") -> None:
        client, peer = free_port(), free_port()
        self.url = f"{scheme}://127.0.0.1:{client}"
        self.port = client
        self._directory = directory
        self._root = root
        self._extra = extra
        self._peer = f"http://127.0.0.1:{peer}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with the data it had, and wait until it answers."""
        arguments = [
            *("/usr/bin/etcd", "--data-dir", "/srv/data", "--log-level", "error"),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", self._peer, "--initial-advertise-peer-urls", self._peer),
            *("--initial-cluster", f"default={self._peer}", *self._extra),
        ]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-ec", ENTER, "sh", str(self._directory), str(self._root), *arguments],
                stdout=log,
                stderr=log,
            )
        until(self._listens, "etcd listens")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def call(self, path: str, question: dict[str, Any]) -> Any:
        """Ask its gateway, as an operator with curl would."""
        request = urllib.request.Request(self.url + path, json.dumps(question).encode())  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)

    def revision(self) -> int:
        """The store's revision now."""
        return int(self.call("/v3/kv/range", {"key": "AA=="})["header"]["revision"])

    def freeze(self) -> None:
        """Stop it as a machine that hangs does: connections stay."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def stop(self) -> None:
        """End it; what it has stays."""
        if self._process is not None and self._process.poll() is None:
            self._send(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        self._process = None

    def wipe(self) -> None:
        """Delete what it has."""
        shutil.rmtree(self._directory / "data", ignore_errors=True)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
