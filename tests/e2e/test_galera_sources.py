"""A real Galera cluster published from its agents' keys, with the commands as users run them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.peers.galera import PROBE, Galera
from bench.sandbox.errors import SandboxError
from srv.leases import LEASE_TTL
from srv.resolver import Resolver
from tests.e2e.etcd_server import EtcdServer, free_port
from tests.e2e.routing import until
from tests.e2e.test_sources import Process

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

DOMAIN = "galera.test"


class Scene:
    """Agents beside the nodes, and a publisher of their keys."""

    def __init__(self, galera: Galera, etcd: EtcdServer, directory: Path) -> None:
        self.galera, self.names = galera, [one.name for one in galera.members[:3]]
        self._port = free_port()
        password, config = directory / "password", directory / "fairlead.toml"
        password.write_text(PROBE[1])
        config.write_text(
            f'[server]\nlisten = ["127.0.0.1:{self._port}"]\n[etcd.main]\nendpoints = ["{etcd.url}"]\n'
            f'[clusters.galera]\nsource = "etcd"\ndomain = "{DOMAIN}"\nflavour = "galera"\n'
        )
        self.publisher = Process(directory / "publisher.log", "serve", "--config", str(config))
        self.agents = {
            one.name: Process(
                directory / f"{one.name}.log",
                *("agent", "--domain", DOMAIN, "--member", f"{one.name}={one.host}:{one.port}/0"),
                *("--probe", f"{one.host}:{one.port}/0"),
                *("--probe-user", PROBE[0], "--probe-password-file", str(password), "--etcd", etcd.url),
            )
            for one in galera.members[:3]
        }

    def look(self, name: str) -> list[str]:
        """The labels of an SRV name's targets."""
        lookup = asyncio.run(Resolver([("127.0.0.1", self._port)], timeout=2.0).srv(f"{name}.{DOMAIN}"))
        return sorted(target.name.partition(".")[0] for target in lookup.answer.targets) if lookup.answer else []

    def settled(self, names: list[str]) -> bool:
        """Whether one is written to, and the others are read from."""
        primary = self.look("_mysql._tcp.primary")
        rest = [name for name in names if name not in primary]
        return len(primary) == 1 and self.look("_mysql._tcp.replicas") == rest and self.look("_mysql._tcp") == names

    def end(self) -> None:
        for process in (*self.agents.values(), self.publisher):
            process.end()


@pytest.fixture
def scene(possible: None, etcd: EtcdServer, tmp_path: Path) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
        try:
            galera = Galera(Path(name) / "g", spares=0).__enter__()
        except SandboxError as exc:
            if "can only be unpacked" in str(exc):
                pytest.skip(str(exc))
            raise
        try:
            one = Scene(galera, etcd, tmp_path)
            try:
                yield one
            finally:
                one.end()
        finally:
            galera.__exit__(None, None, None)
    for process in (*one.agents.values(), one.publisher):
        assert "Traceback" not in process.log(), process.log()


def test_roles_follow_the_nodes(scene: Scene) -> None:
    names = scene.names
    until(lambda: scene.settled(names), "one writer and two readers are published", 30.0)
    [writer] = scene.look("_mysql._tcp.primary")
    assert scene.look("_mysqlx._tcp") == scene.look("_mysqlx._tcp.primary") == []

    scene.galera.kill(writer)
    scene.agents[writer].kill()  # the machine is gone
    killed = time.monotonic()
    rest = [name for name in names if name != writer]
    until(
        lambda: scene.look("_mysql._tcp.primary") not in ([], [writer]), "its successor is published", LEASE_TTL + 5.0
    )
    print(f"the successor is published {time.monotonic() - killed:.1f} s after the writer died")
    until(lambda: scene.settled(rest), "its record expires", LEASE_TTL + 5.0)
    print(f"its record is gone after {time.monotonic() - killed:.1f} s")
