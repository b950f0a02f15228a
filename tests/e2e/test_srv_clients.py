"""The published records as clients use them that nobody here wrote: sent to members by role name alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.sandbox.errors import SandboxError
from tests.e2e.publishing import DOMAIN, Publisher, names, published, until, uuids
from tests.e2e.srv_clients import CLIENTS, Client

pytestmark = pytest.mark.sandbox

PRIMARY = f"primary.{DOMAIN}"
REPLICAS = f"replicas.{DOMAIN}"
ENOUGH = 16  # connections; that all of them get the same one of two alike happens once in 32768 times


@pytest.fixture(scope="module")
def publisher(sandbox: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    with published(sandbox, tmp_path_factory.mktemp("publisher")) as one:
        yield one


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, sandbox: Any, tmp_path_factory: pytest.TempPathFactory) -> Client:
    try:
        return CLIENTS[request.param](sandbox, tmp_path_factory.mktemp(request.param))
    except SandboxError as exc:
        pytest.skip(str(exc))


@pytest.fixture
def clients(sandbox: Any, tmp_path: Path) -> dict[str, Client]:
    """Those that can be had here, for tests that change the group and do so once for all."""
    found = {}
    for name, make in CLIENTS.items():
        (tmp_path / name).mkdir()
        try:
            found[name] = make(sandbox, tmp_path / name)
        except SandboxError:
            continue  # `client` says why
    return found


def reached(client: Client, publisher: Publisher, suffix: str, count: int) -> set[str]:
    """UUIDs of the servers that a client gets to; every connection of it is encrypted."""
    found = client.reached(suffix, count, publisher.address)
    assert all(one.cipher for one in found), found
    return {one.uuid for one in found}


def test_a_client_finds_members_by_role_name(group: Any, publisher: Publisher, client: Client) -> None:
    publisher.wait_for(group)
    assert reached(client, publisher, PRIMARY, 3) == uuids(group, "PRIMARY")
    assert reached(client, publisher, REPLICAS, ENOUGH) == uuids(group, "SECONDARY")
    assert reached(client, publisher, DOMAIN, 3) <= uuids(group)


def test_a_switchover_moves_the_names(group: Any, publisher: Publisher, clients: dict[str, Client]) -> None:
    (old,), (new, *_) = names(group, "PRIMARY"), names(group, "SECONDARY")
    for primary in (new, old):
        group.switch(primary)
        assert names(group, "PRIMARY") == [primary]
        publisher.wait_for(group)
        for name, client in clients.items():
            assert reached(client, publisher, PRIMARY, 1) == uuids(group, "PRIMARY"), name
            assert reached(client, publisher, REPLICAS, 4) <= uuids(group, "SECONDARY"), name


def test_a_killed_member_is_passed_over(group: Any, publisher: Publisher, clients: dict[str, Client]) -> None:
    publisher.wait_for(group)
    killed = names(group, "SECONDARY")[-1]
    uuid = group.status().member(killed).uuid
    alive, other_replicas = uuids(group) - {uuid}, uuids(group, "SECONDARY") - {uuid}
    group.kill(killed)
    until(lambda: publisher.targets(f"_mysql._tcp.{REPLICAS}"), lambda found: killed not in found)
    # The name of all members lists who is there, not who is well: a client has to go on to the next one by itself.
    assert killed in publisher.targets(f"_mysql._tcp.{DOMAIN}")
    for name, client in clients.items():
        assert reached(client, publisher, DOMAIN, ENOUGH) == alive, name
        assert reached(client, publisher, REPLICAS, 3) == other_replicas, name


def test_an_unlisted_member_is_published_from_the_groups_own_view(group: Any, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"  # the view names members by their host names, which this machine need not know
    hosts.write_text("".join(f"{member.host} {member.name}\n" for member in group.members), encoding="ascii")
    one = Publisher(group, tmp_path / "publisher.log", listed=1, hosts=hosts, port=5353)
    try:
        found = until(lambda: one.targets(f"_mysql._tcp.{DOMAIN}"), lambda found: len(found) == len(group.members))
        assert group.members[0].name in found
        one.wait_for(group)
    finally:
        status, log = one.stop()
    assert status == 0, log
    assert log.count("member-adopted") == len(group.members) - 1, log
