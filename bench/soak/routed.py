"""The router under soak: two workers by a configuration file, which is written again for each reload.

Owns its file, its signals, and how it tells that they have been done. Methods block.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.demo.run import DOMAIN, DemoError, Stage
from bench.demo.stage import start_publisher
from bench.sandbox.deadlines import wait_until
from bench.sandbox.processes import send
from cluster.members import Endpoint
from router.api import NoRouterError, fetch
from router.settings import DEFAULT_ROUTES

WORKERS = 2
EXTRA = "extra"  # a route that comes and goes
EXTRA_PORT = 6456
PARKING_LIMIT = 1000  # raised by one with each reload: a change that no session must notice
# Seconds.
SIGNAL_TIMEOUT = 30.0
OFFERED_TIMEOUT = 120.0
REST_TIMEOUT = 60.0


class Routed:
    """One router, from its start to its end.

    Args:
        stage: where it stands.
        file: its configuration.
    """

    def __init__(self, stage: Stage, file: Path) -> None:
        self.stage = stage
        self.generation = 1  # main processes so far
        self._file = file
        self._reloads = 0

    def start(self) -> None:
        """Start the publisher and the router, and return when it offers every member.

        Raises:
            DemoError: it does not come to that.
        """
        start_publisher(self.stage)
        self._write(extra=False)
        self.stage.children.start("router", ["router", "--config", str(self._file)])
        self.wait_offered()

    def reload(self, *, extra: bool | None = None) -> None:
        """Change the configuration and have it read; the extra route comes or goes each time unless it is said.

        Raises:
            DemoError: it does not say that it has.
        """
        self._reloads += 1
        self._write(extra=self._reloads % 2 == 1 if extra is None else extra)
        self._tell(signal.SIGHUP, f"-> {PARKING_LIMIT + self._reloads}")

    def upgrade(self) -> None:
        """Have the main process become a new one.

        Raises:
            DemoError: it does not come to that.
        """
        self._tell(signal.SIGUSR2, f"route {next(iter(DEFAULT_ROUTES))} listens on")
        self.generation += 1

    def wait_offered(self) -> None:
        """Return when every member is offered.

        Raises:
            DemoError: that takes too long, or the router has ended.
        """
        self._until(self._offers_all, OFFERED_TIMEOUT, "it offers every member")

    def wait_rest(self) -> None:
        """Return when it has no session, and no worker but those that accept.

        Raises:
            DemoError: that takes too long.
        """
        self._until(self._is_at_rest, REST_TIMEOUT, "it is at rest: no session, and no worker of before an upgrade")

    def routes(self) -> list[dict[str, Any]]:
        """The routes' documents."""
        shown: list[dict[str, Any]] = fetch(self.stage.admin, "/api/v1/routes")["routes"]
        return shown

    def log(self) -> str:
        """What it has logged."""
        return self.stage.children.log("router").read_text(encoding="utf-8")

    def _is_at_rest(self) -> bool:
        if any(route["sessions"] for route in self.routes()):
            return False
        states = [one["state"] for one in fetch(self.stage.admin, "/api/v1/workers")["workers"]]
        return states == ["serving"] * WORKERS

    def _offers_all(self) -> bool:
        [cluster] = fetch(self.stage.admin, "/api/v1/topology")["clusters"].values()
        members = cluster["members"]
        return len(members) == len(self.stage.sandbox.members) and all(one["offered"] for one in members)

    def _tell(self, number: signal.Signals, words: str) -> None:
        before = len(self.log())
        send(self.stage.children.running["router"], number)
        self._until(lambda: words in self.log()[before:], SIGNAL_TIMEOUT, f"it says {words!r}")

    def _until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        def holds() -> bool:
            if not self.stage.children.alive("router"):
                raise DemoError(f"the router has ended; see {self.stage.children.log('router')}")
            try:
                return condition()
            except NoRouterError:
                return False

        began = time.monotonic()
        if not wait_until(holds, timeout):
            waited = time.monotonic() - began
            raise DemoError(f"not within {waited:.0f} s: {what}; see {self.stage.children.log('router')}")

    def _write(self, *, extra: bool) -> None:
        stage, probe = self.stage, self.stage.sandbox.accounts["probe"]
        lines = [
            f"workers = {WORKERS}",
            "[clusters.main]",
            f'srv = "{DOMAIN}"',
            f'resolvers = ["{stage.resolver}"]',
            f'probe_user = "{probe.user}"',
            f'probe_password_file = "{probe.password_file}"',
            "[admin]",
            f'listen = "{stage.admin}"',
        ]
        for name, usual in DEFAULT_ROUTES.items():
            lines += [
                f"[routes.{name}]",
                f'listen = "{Endpoint(stage.address, int(str(usual["port"])))}"',
                f'protocol = "{usual["protocol"]}"',
                f'destination = "{usual["destination"]}"',
                f"parking_limit = {PARKING_LIMIT + self._reloads}",
            ]
        if extra:
            lines += [
                f"[routes.{EXTRA}]",
                f'listen = "{Endpoint(stage.address, EXTRA_PORT)}"',
                'protocol = "classic"',
                'destination = "SECONDARY"',
            ]
        self._file.write_text("\n".join(lines) + "\n", encoding="utf-8")
