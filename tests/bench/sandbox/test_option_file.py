from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from bench.sandbox.addresses import loopback_members, namespace_members
from bench.sandbox.option_file import initialise_text, member_text
from bench.sandbox.record import Mode, NetworkKind, Phase, Record, ServerKind


def a_record(network: NetworkKind = NetworkKind.NAMESPACES, mode: Mode = Mode.SINGLE_PRIMARY, count: int = 3) -> Record:
    subnet = IPv4Network("10.213.4.0/24")
    spaces = network is NetworkKind.NAMESPACES
    return Record(
        phase=Phase.UP,
        tag="ab12" if spaces else "",
        network=network,
        mode=mode,
        subnet=str(subnet) if spaces else "",
        host_address="10.213.4.1" if spaces else "127.0.0.1",
        server_kind=ServerKind.ROOT,
        server_path="/cache/root",
        group_name="53c0a40d-49ad-4c0b-8571-cfca49db68f9",
        formed=True,
        boot_id="b",
        members=namespace_members(count, subnet) if spaces else loopback_members(count, 13306),
    )


def options(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and line[0] not in "#["]
    return dict(line.split(" = ", 1) for line in lines)


def test_every_section_of_settings_says_why() -> None:
    record = a_record()
    blocks = member_text(record, record.members[0], "/mnt").split("\n\n")
    assert len(blocks) > 10
    assert all(block.startswith("#") for block in blocks)


def test_a_member_knows_itself_and_its_peers() -> None:
    record = a_record()
    found = options(member_text(record, record.members[1], "/mnt"))
    assert found["server_id"] == "2"
    assert found["report_host"] == "mysql-1"
    assert found["group_replication_local_address"] == "10.213.4.11:33061"
    assert found["group_replication_group_seeds"] == "10.213.4.10:33061,10.213.4.12:33061"
    assert found["group_replication_ip_allowlist"] == "10.213.4.0/24"
    assert found["group_replication_recovery_ssl_ca"] == found["ssl_ca"] == "/mnt/tls/ca.pem"


def test_a_group_of_one_has_itself_as_its_seed() -> None:
    record = a_record(count=1)
    found = options(member_text(record, record.members[0], "/mnt"))
    assert found["group_replication_group_seeds"] == found["group_replication_local_address"]


@pytest.mark.parametrize(
    ("mode", "single", "checks"), [(Mode.SINGLE_PRIMARY, "ON", "OFF"), (Mode.MULTI_PRIMARY, "OFF", "ON")]
)
def test_the_mode_is_set_with_the_checks_that_belong_to_it(mode: Mode, single: str, checks: str) -> None:
    record = a_record(mode=mode)
    found = options(member_text(record, record.members[0], "/mnt"))
    assert found["group_replication_single_primary_mode"] == single
    assert found["group_replication_enforce_update_everywhere_checks"] == checks


def test_on_loopback_nothing_listens_elsewhere() -> None:
    record = a_record(NetworkKind.LOOPBACK)
    found = options(member_text(record, record.members[0], "/home/x/mysql-0"))
    assert found["bind_address"] == found["mysqlx_bind_address"] == "127.0.0.1"
    assert found["group_replication_communication_stack"] == "MYSQL"
    assert found["group_replication_local_address"] == f"127.0.0.1:{found['port']}"
    assert found["socket"] == "/home/x/mysql-0/mysqld.sock"


def test_initialising_writes_where_a_half_made_directory_is_not_taken_for_a_whole_one() -> None:
    assert options(initialise_text("/mnt"))["datadir"] == "/mnt/data.partial"
    assert options(member_text(a_record(), a_record().members[0], "/mnt"))["datadir"] == "/mnt/data"


def test_a_source_and_its_replicas_have_no_group_and_start_read_only() -> None:
    text = member_text(a_record(mode=Mode.REPLICATION), a_record().members[0], "/mnt")
    found = options(text)
    assert not [name for name in found if name.startswith("group_replication")]
    assert found["super_read_only"] == found["rpl_semi_sync_replica_enabled"] == "ON"
    assert "semisync_source.so" in text
