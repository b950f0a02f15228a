from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from bench.sandbox.addresses import (
    choose_base_port,
    choose_subnet,
    choose_tag,
    hosts_text,
    listening_ports,
    loopback_members,
    namespace_members,
    used_networks,
)


def test_the_first_free_subnet_is_chosen() -> None:
    used = [IPv4Network("10.213.0.0/24"), IPv4Network("10.213.1.64/26"), IPv4Network("192.0.2.0/24")]
    assert choose_subnet(used) == IPv4Network("10.213.2.0/24")


def test_a_route_over_the_whole_range_moves_on_to_the_next_range() -> None:
    assert choose_subnet([IPv4Network("10.0.0.0/8")]) == IPv4Network("198.18.0.0/24")


def test_the_preferred_subnet_is_kept_only_while_it_is_free() -> None:
    assert choose_subnet([], "10.213.7.0/24") == IPv4Network("10.213.7.0/24")
    assert choose_subnet([IPv4Network("10.213.7.9/32")], "10.213.7.0/24") == IPv4Network("10.213.0.0/24")


def test_no_free_subnet_is_an_error() -> None:
    with pytest.raises(LookupError):
        choose_subnet([IPv4Network("10.0.0.0/8"), IPv4Network("198.0.0.0/8")])


def test_networks_in_use_are_those_of_addresses_and_routes_without_the_default_route() -> None:
    addresses = [{"ifname": "eth0", "addr_info": [{"local": "192.0.2.2", "prefixlen": 24}]}, {"ifname": "down"}]
    routes = [{"dst": "default"}, {"dst": "10.9.0.0/16"}, {"dst": "127.0.0.1"}, {"dst": "0.0.0.0/0"}]
    assert used_networks(addresses, routes) == [
        IPv4Network("192.0.2.0/24"),
        IPv4Network("10.9.0.0/16"),
        IPv4Network("127.0.0.1/32"),
    ]


def test_routes_to_everywhere_do_not_mean_that_all_is_in_use() -> None:
    vpn = [{"dst": "0.0.0.0/1"}, {"dst": "128.0.0.0/1"}, {"dst": "10.0.0.0/8"}]
    assert used_networks([], vpn) == [IPv4Network("10.0.0.0/8")]


def test_a_tag_stays_the_same_unless_it_is_taken() -> None:
    tag = choose_tag("/somewhere", set())
    assert tag == choose_tag("/somewhere", {"0000"})
    assert len(tag) == 4
    other = choose_tag("/somewhere", {tag})
    assert other not in (tag, choose_tag("/elsewhere", set()))


def test_members_in_namespaces_have_the_ports_of_pods() -> None:
    first, second = namespace_members(2, IPv4Network("10.213.4.0/24"))
    assert (first.name, first.host, first.port, first.x_port) == ("mysql-0", "10.213.4.10", 3306, 33060)
    assert (second.name, second.group_address, second.report_host) == ("mysql-1", "10.213.4.11:33061", "mysql-1")


def test_members_on_loopback_share_no_port() -> None:
    members = loopback_members(9, 13306)
    ports = [port for member in members for port in (member.port, member.x_port)]
    assert len(set(ports)) == 18
    assert {member.host for member in members} == {"127.0.0.1"}


def test_a_base_port_is_passed_over_when_one_of_its_ports_is_taken() -> None:
    assert choose_base_port(3, set()) == 13306
    assert choose_base_port(3, {13306 + 50 + 2}) == 13406
    assert choose_base_port(3, {13309}) == 13306


def test_listening_ports_are_read_from_the_kernels_table() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0\n"
        "   1: 0100007F:0CEB 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0\n"
    )
    assert listening_ports([table]) == {3306}


def test_members_find_each_other_in_a_hosts_file() -> None:
    text = hosts_text(namespace_members(2, IPv4Network("10.213.4.0/24")))
    assert text.splitlines() == ["127.0.0.1 localhost", "10.213.4.10 mysql-0", "10.213.4.11 mysql-1"]
