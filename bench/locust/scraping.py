"""A Prometheus that scrapes the router, out of the peers' private root, and what it is asked for afterwards."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from bench.locust.report import Points
from bench.peers.root import PEERS
from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import SandboxError
from bench.sandbox.processes import send, spawn, wait_gone
from bench.sandbox.programs import SYSTEM_PATH

# Seconds.
EVERY = 1
START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
ANSWER_TIMEOUT = 5.0
CONFIGURATION = """\
global: {{scrape_interval: {every}s, scrape_timeout: {every}s}}
scrape_configs:
  - job_name: fairlead
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """A running one; `address` is where it answers."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._opener = build_opener(ProxyHandler({}))

    def ready(self) -> bool:
        """Whether it has scraped its target."""
        try:
            found = self._ask("query", query="up{job='fairlead'}")
        except (OSError, ValueError):
            return False
        return any(one["value"][1] == "1" for one in found)

    def points(self, query: str, began: float, label: str) -> Mapping[str, Points]:
        """What a query gives over time, by a label of its series; times in seconds since `began` (the wall clock's)."""
        found = self._ask("query_range", query=query, start=str(began), end=str(time.time()), step=str(EVERY))
        return {
            one["metric"].get(label, ""): tuple((float(at) - began, float(value)) for at, value in one["values"])
            for one in found
        }

    def _ask(self, kind: str, **words: str) -> list[dict[str, Any]]:
        url = f"http://{self.address}/api/v1/{kind}?{urlencode(words)}"
        with self._opener.open(url, timeout=ANSWER_TIMEOUT) as reply:
            found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
        return found


@contextmanager
def scraping(target: str, address: str, directory: Path) -> Iterator[Prometheus]:
    """Run one for the length of a block.

    Args:
        target: `ADDRESS:PORT` of the router's metrics.
        address: `ADDRESS:PORT` of this machine where it listens.
        directory: for its data and its log; made here.

    Raises:
        SandboxError: it cannot be had here, or does not get at the router.
    """
    directory.mkdir(parents=True)
    (directory / "prometheus.yml").write_text(CONFIGURATION.format(every=EVERY, target=target), encoding="ascii")
    words = ["--config.file=/srv/prometheus.yml", "--storage.tsdb.path=/srv/data", f"--web.listen-address={address}"]
    argv = [*PEERS.enter(directory), "/usr/bin/prometheus", *words]
    process = spawn(argv, {"PATH": SYSTEM_PATH}, directory / "prometheus.log")
    try:
        one = Prometheus(address)
        if not wait_until(one.ready, START_TIMEOUT):
            raise SandboxError(f"Prometheus does not scrape {target}; see {directory / 'prometheus.log'}")
        yield one
    finally:
        send(process, signal.SIGTERM)
        if not wait_gone(process, STOP_TIMEOUT):
            send(process, signal.SIGKILL)
