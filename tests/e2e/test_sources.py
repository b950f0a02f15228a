"""Where records come from, with real members, a real etcd and the commands as users run them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.sandbox.sandbox import Sandbox
from srv.leases import LEASE_TTL
from srv.lookup import Outcome
from srv.resolver import Resolver
from tests.e2e.etcd_server import EtcdServer, free_port
from tests.e2e.routing import until

pytestmark = pytest.mark.sandbox

DOMAIN, LISTED = "orders.test", "parts.test"
LISTING = """
[clusters."{domain}".members.db-0]
host = "192.0.2.10"
role = "primary"
[clusters."{domain}".members.db-1]
addresses = ["192.0.2.11"]
role = "replica"
weight = {weight}
"""


class Process:
    """One `fairlead srv …`."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self._log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen([sys.executable, "-m", "router.cli", "srv", *arguments], stderr=stderr)

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self._process.wait(10)

    def end(self) -> int:
        if self._process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        return self._process.wait(20)


class Scene:
    """A publisher of agents' keys and of a file, and the agents of a group's members."""

    def __init__(self, group: Sandbox, etcd: EtcdServer, directory: Path) -> None:
        self.group, self.etcd, self.directory = group, etcd, directory
        self.agents: dict[str, Process] = {}
        self.listing = directory / "listing.toml"
        self._port = free_port()
        self.write(LISTING.format(domain=LISTED, weight=100))
        config = directory / "fairlead.toml"
        config.write_text(
            f'[server]\nlisten = ["127.0.0.1:{self._port}"]\n'
            f'[etcd.main]\nendpoints = ["http://127.0.0.1:1", "{etcd.url}"]\n'
            f'[clusters.orders]\nsource = "etcd"\ndomain = "{DOMAIN}"\n'
            f'[clusters.listed]\nsource = "file"\npath = "{self.listing}"\n'
        )
        self.publisher = Process(directory / "publisher.log", "serve", "--config", str(config))

    def start_agent(self, name: str) -> Process:
        member, account = self.group.member(name), self.group.accounts["probe"]
        self.agents[name] = Process(
            self.directory / f"{name}.log",
            *("agent", "--domain", DOMAIN, "--member", f"{name}={member.host}:{member.port}/{member.x_port}"),
            *("--probe", f"{member.host}:{member.port}/{member.x_port}"),
            *("--probe-user", account.user, "--probe-password-file", str(account.password_file)),
            *("--etcd", self.etcd.url),
        )
        return self.agents[name]

    def write(self, text: str) -> None:
        """Replace the listing as editors and ConfigMaps do."""
        new = self.listing.with_suffix(".new")
        new.write_text(text)
        new.replace(self.listing)

    def look(self, name: str = "", domain: str = DOMAIN) -> list[str] | str:
        """The labels at a role's name, or at that of all members; or why there are none."""
        full = f"_mysql._tcp.{name}.{domain}" if name else f"_mysql._tcp.{domain}"
        lookup = asyncio.run(Resolver([("127.0.0.1", self._port)], timeout=2.0).srv(full))
        if lookup.answer is None:
            return lookup.outcome.value
        return sorted(target.name.partition(".")[0] for target in lookup.answer.targets)

    def weights(self, domain: str = LISTED) -> dict[str, int]:
        lookup = asyncio.run(Resolver([("127.0.0.1", self._port)], timeout=2.0).srv(f"_mysql._tcp.{domain}"))
        targets = lookup.answer.targets if lookup.answer else ()
        return {target.name.partition(".")[0]: target.weight for target in targets}

    def settled(self, primary: str, names: list[str]) -> bool:
        others = [name for name in names if name != primary]
        return self.look("primary") == [primary] and self.look("replicas") == others and self.look() == names

    def end(self) -> None:
        for process in (*self.agents.values(), self.publisher):
            process.end()


@pytest.fixture
def scene(group: Sandbox, etcd: EtcdServer, tmp_path: Path) -> Iterator[Scene]:
    """Everything runs, and the group's roles are published."""
    one = Scene(group, etcd, tmp_path)
    try:
        names = [member.name for member in group.members]
        for name in names:
            one.start_agent(name)
        until(lambda: one.settled(names[0], names), "the roles are published from etcd")
        yield one
    finally:
        one.end()
    for process in (*one.agents.values(), one.publisher):
        assert "Traceback" not in process.log(), process.log()


def test_roles_through_etcd_follow_the_group(scene: Scene) -> None:
    old, new, third = names = [member.name for member in scene.group.members]
    assert scene.look("primary", LISTED) == ["db-0"]

    scene.group.switch(new)
    done = time.monotonic()
    until(lambda: scene.settled(new, names), "the switchover is published", 1.0)
    print(f"published {time.monotonic() - done:.3f} s after the new primary took writes")

    scene.group.kill(third)
    until(lambda: scene.look("replicas") == [old], "a killed member is gone", 10.0)
    assert scene.look() == names  # presence is not health, and its agent lives
    scene.group.start(third)
    until(lambda: scene.look("replicas") == [old, third], "it is back")


def test_an_agents_ways_to_end(scene: Scene) -> None:
    first, second, third = names = [member.name for member in scene.group.members]
    rest = [first, second]

    scene.agents[third].send(signal.SIGUSR1)
    until(lambda: scene.look() == rest and scene.look("replicas") == [second], "a draining member is gone", 2.0)
    scene.agents[third].send(signal.SIGUSR2)
    until(lambda: scene.settled(first, names), "it is back", 2.0)

    scene.agents[first].send(signal.SIGUSR1)  # the only primary: nobody else takes writes
    until(lambda: "draining=true" in scene.agents[first].log(), "it was told", 5.0)
    scene.group.switch(second)
    until(
        lambda: scene.look() == [second, third] and scene.look("primary") == [second], "it is gone with its role", 2.0
    )
    scene.agents[first].send(signal.SIGUSR2)
    until(lambda: scene.settled(second, names), "and back", 2.0)

    assert scene.agents[third].end() == 0
    until(lambda: scene.look() == rest, "an agent that ends takes its record along", 1.0)
    scene.start_agent(third)
    until(lambda: scene.settled(second, names), "its next one brings it back")

    scene.agents[third].kill()
    killed = time.monotonic()
    until(lambda: scene.look() == rest, "a dead agent's record expires", LEASE_TTL + 3.0)
    assert time.monotonic() - killed > 3.0  # by the lease, not by chance
    assert scene.look("replicas") == [first]


def test_etcd_restarted_frozen_and_wiped(scene: Scene) -> None:
    first, second, _ = names = [member.name for member in scene.group.members]
    scene.etcd.stop()
    until(lambda: "etcd-lost" in scene.publisher.log(), "the loss is told of")
    assert scene.settled(first, names)
    scene.etcd.start()
    until(lambda: "etcd-back" in scene.publisher.log(), "the return is told of")
    assert scene.settled(first, names)
    scene.group.switch(second)
    until(lambda: scene.settled(second, names), "the switchover is published", 5.0)

    scene.etcd.freeze()
    until(lambda: scene.publisher.log().count("etcd-lost") == 2, "a frozen etcd is noticed", 10.0)
    assert scene.settled(second, names)
    scene.group.switch(first)  # nobody hears of it
    assert scene.look("primary") == [second]
    scene.etcd.thaw()
    until(lambda: scene.settled(first, names), "what happened meanwhile is published", 10.0)

    scene.etcd.stop()
    scene.etcd.wipe()
    scene.etcd.start()
    until(lambda: "etcd-read-anew" in scene.publisher.log(), "another store is noticed")
    until(lambda: scene.settled(first, names), "agents write their keys again", 15.0)
    assert scene.publisher.log().count("etcd-lost") <= 4, scene.publisher.log()


def test_a_listing_is_followed(scene: Scene) -> None:
    assert scene.weights() == {"db-0": 100, "db-1": 100}
    scene.write(LISTING.format(domain=LISTED, weight=7))
    until(lambda: scene.weights()["db-1"] == 7, "an edit is published", 1.5)
    scene.write(LISTING.format(domain=LISTED, weight="'many'"))
    until(lambda: "line 8: clusters.parts.test.members.db-1.weight: 'many'" in scene.publisher.log(), "said", 5.0)
    scene.listing.unlink()
    until(lambda: "reason='No such file or directory'" in scene.publisher.log(), "said", 5.0)
    assert scene.weights() == {"db-0": 100, "db-1": 7}
    scene.write(LISTING.format(domain="tools.test", weight=1))
    until(lambda: scene.weights("tools.test") == {"db-0": 100, "db-1": 1}, "another cluster is published", 5.0)
    assert scene.look("", LISTED) == Outcome.REFUSED.value
    scene.write(LISTING.format(domain=DOMAIN, weight=1))  # which is another source's
    until(lambda: f"zone-refused domain={DOMAIN}" in scene.publisher.log(), "said", 5.0)
    assert scene.look("", DOMAIN) == [member.name for member in scene.group.members]
