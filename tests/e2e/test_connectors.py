"""What SRV clients make of priority, weight and size, as docs/clients.md says it of their locked versions.

A test that fails here after an upgrade of the lock is news for that page, and perhaps for what is published.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.peers.connectors import ensure_python
from bench.sandbox.errors import SandboxError
from srv.zone import ZoneMember
from tests.e2e.publishing import DOMAIN, PATIENCE, made_up, replica
from tests.e2e.srv_clients import CLIENTS, PROGRAMS, Client, python_x
from xproto import auth

pytestmark = pytest.mark.sandbox

NAMESERVER = "127.80.0.53"
# Nine members of this domain do not fit the 512 bytes that a reply has without EDNS0 (RFC 1035, 4.2.1).
LONG_DOMAIN = "orders-production.databases.example.test"
CONNECTIONS = 30  # where a choice among three alike must show all three: it does not once in 60,000 times


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, sandbox: Any, tmp_path_factory: pytest.TempPathFactory) -> Client:
    if request.param == "mysql" and sandbox.root is None:
        pytest.skip("docs/clients.md speaks of the mysql client in the private root")
    try:
        return CLIENTS[request.param](sandbox, tmp_path_factory.mktemp(request.param))
    except SandboxError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="module")
def python() -> str:
    try:
        return str(ensure_python())
    except SandboxError as exc:
        pytest.skip(str(exc))


def chosen(sandbox: Any, client: Client, members: list[ZoneMember], domain: str = DOMAIN) -> Counter[str]:
    """How often each server was the one, by its name in the sandbox."""
    by_uuid = {row.uuid: row.name for row in sandbox.status().members}
    with made_up(NAMESERVER, domain, members):
        return Counter(by_uuid[one.uuid] for one in client.reached(f"replicas.{domain}", CONNECTIONS, NAMESERVER))


@pytest.mark.parametrize(
    ("client", "wanted"),
    [
        ("mysql", {"mysql-1"}),
        ("python-classic", {"mysql-0", "mysql-1", "mysql-2"}),  # has no regard for priority
        ("python-x", {"mysql-1"}),
        ("node-x", {"mysql-1"}),
    ],
    indirect=["client"],
)
def test_the_lowest_priority_comes_first(sandbox: Any, client: Client, wanted: set[str]) -> None:
    priorities = (20, 0, 10)
    members = [replica(one.name, one.host, priority=p) for one, p in zip(sandbox.members, priorities, strict=True)]
    assert set(chosen(sandbox, client, members)) == wanted


@pytest.mark.parametrize(
    ("client", "wanted"),
    [
        ("mysql", {"mysql-1", "mysql-2"}),  # one far below the others gets nothing, those that are near it get alike
        ("python-classic", {"mysql-0", "mysql-1", "mysql-2"}),  # has no regard for weight
        ("python-x", {"mysql-0", "mysql-1", "mysql-2"}),  # nor has this
        ("node-x", {"mysql-2"}),  # the heaviest gets everything
    ],
    indirect=["client"],
)
def test_nobody_spreads_by_weight(sandbox: Any, client: Client, wanted: set[str]) -> None:
    weights = (10, 30, 60)
    members = [replica(one.name, one.host, weight=w) for one, w in zip(sandbox.members, weights, strict=True)]
    assert set(chosen(sandbox, client, members)) == wanted


def test_everybody_spreads_among_equals(sandbox: Any, client: Client) -> None:
    members = [replica(one.name, one.host) for one in sandbox.members]
    assert set(chosen(sandbox, client, members)) == {one.name for one in sandbox.members}


def test_a_refused_connection_is_followed_by_the_next_target(sandbox: Any, client: Client) -> None:
    nobody = replica("nobody", sandbox.host_address)
    members = [nobody, *(replica(one.name, one.host, priority=10) for one in sandbox.members[1:])]
    assert set(chosen(sandbox, client, members)) == {one.name for one in sandbox.members[1:]}


@pytest.mark.parametrize(
    ("client", "copes"),
    [("mysql", False), ("python-classic", True), ("python-x", True), ("node-x", True)],
    indirect=["client"],
)
def test_a_set_that_needs_tcp(sandbox: Any, client: Client, copes: bool) -> None:
    hosts = [one.host for one in sandbox.members] * 3
    members = [replica(f"mysql-{number}", host) for number, host in enumerate(hosts)]
    with made_up(NAMESERVER, LONG_DOMAIN, members) as server:
        done = client.run(f"{client.service}.replicas.{LONG_DOMAIN}", 1, NAMESERVER)
        assert server.counts["tcp NOERROR"] > 0
    assert (done.returncode == 0) is copes, done.stderr
    if not copes:
        # It goes to the server of its own machine instead, and does not say that the records were the matter.
        assert "ERROR 2002" in done.stderr


def test_a_single_x_session_of_python_takes_no_srv_name(sandbox: Any, python: str, tmp_path: Path) -> None:
    client = python_x(sandbox, tmp_path, "single.py")
    with made_up(NAMESERVER, DOMAIN, [replica(one.name, one.host) for one in sandbox.members]):
        done = client.run(f"{client.service}.{DOMAIN}", 1, NAMESERVER)
    assert done.stdout.startswith("4000: You must either assign no priority to any of the routers"), done


VECTORS = [
    {"user": "probe", "password": "secret", "nonce": bytes(range(20)).hex()},
    {"user": "app", "password": "pässwörd ✓", "nonce": bytes(range(235, 255)).hex()},
    {"user": "ünï", "password": "a" * 200, "nonce": "00" * 20},
]


@pytest.mark.parametrize(
    ("mechanism", "answer"),
    [("MYSQL41", auth.mysql41), ("SHA256_MEMORY", auth.sha256_memory)],
)
def test_challenges_are_answered_as_connector_python_does(python: str, mechanism: str, answer: Any) -> None:
    done = subprocess.run(
        [python, str(PROGRAMS / "scrambles.py")],
        input=json.dumps(VECTORS),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    for vector, theirs in zip(VECTORS, json.loads(done.stdout)[mechanism], strict=True):
        ours = answer(auth.Login(vector["user"], vector["password"]), bytes.fromhex(vector["nonce"])).decode()
        # Theirs names no schema, ends MYSQL41's with a zero byte more, and writes the digits small.
        *names, scramble = theirs.removesuffix("\0").split("\0")
        assert ours.split("\0") == [*names, scramble.upper()]
