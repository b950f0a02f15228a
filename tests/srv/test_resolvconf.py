"""resolv.conf(5)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from srv.resolvconf import NOWHERE_SAID, ResolvConf, parse_resolv_conf, read_resolv_conf

TEXT = """
# nameserver 192.0.2.9
; search not.this
domain example.net
search db.svc.cluster.local Svc.Cluster.Local. .  bad..name cluster.local
nameserver 192.0.2.1
nameserver\t2001:db8::1  trailing words
nameserver not-an-address
nameserver
  nameserver fe80::1%eth0
nameserver 192.0.2.4
options edns0 ndots:5 timeout:2
options attempts:x attempts:3 rotate trust-ad
"""
# What a pod in the namespace `db` has.
POD = parse_resolv_conf("search db.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n")


def test_everything_that_matters_here() -> None:
    assert parse_resolv_conf(TEXT, "host.example.org") == ResolvConf(
        nameservers=(("192.0.2.1", 53), ("2001:db8::1", 53), ("fe80::1%eth0", 53)),
        search=("db.svc.cluster.local", "svc.cluster.local", "cluster.local"),
        ndots=5,
        timeout=2,
        attempts=3,
        rotate=True,
    )


def test_without_anything_the_local_machine_is_asked_and_its_own_domain_searched(tmp_path: Path) -> None:
    assert parse_resolv_conf("", "host.example.org") == ResolvConf(NOWHERE_SAID, ("example.org",))
    assert parse_resolv_conf("", "host") == ResolvConf()
    hostname = socket.gethostname()
    assert read_resolv_conf(tmp_path / "missing") == parse_resolv_conf("", hostname)


@pytest.mark.parametrize(
    ("line", "search"),
    [
        ("domain one.test two.test", ("one.test",)),
        ("search one.test\nsearch two.test three.test", ("two.test", "three.test")),
        ("search one.test\ndomain two.test", ("two.test",)),
        ("search", ()),
        ("search .", ()),
    ],
)
def test_the_last_line_of_domain_or_search_counts(line: str, search: tuple[str, ...]) -> None:
    assert parse_resolv_conf(line, "host.example.org").search == search


@pytest.mark.parametrize(
    ("options", "conf"),
    [
        ("ndots:99 timeout:99 attempts:99", ResolvConf(ndots=15, timeout=30, attempts=5)),
        ("ndots:0 timeout:0 attempts:0", ResolvConf(ndots=0)),
        ("ndots:-1 timeout:1.5 attempts:", ResolvConf()),
    ],
)
def test_options_are_capped_and_nonsense_is_passed_over(options: str, conf: ResolvConf) -> None:
    assert parse_resolv_conf(f"options {options}") == conf


def test_a_file_that_is_not_text_is_read_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_bytes(b"# \xff\xfe\nnameserver 192.0.2.1\n")
    assert read_resolv_conf(file).nameservers == (("192.0.2.1", 53),)


def test_a_relative_name_is_searched_for_first_where_it_has_few_dots() -> None:
    assert POD.candidates("_mysql._tcp.Orders.db") == (
        "_mysql._tcp.orders.db.db.svc.cluster.local",
        "_mysql._tcp.orders.db.svc.cluster.local",
        "_mysql._tcp.orders.db",
    )


def test_a_name_with_dots_enough_is_asked_for_as_it_stands_first() -> None:
    assert parse_resolv_conf("search a.test b.test").candidates("_mysql._tcp.db") == (
        "_mysql._tcp.db",
        "_mysql._tcp.db.a.test",
        "_mysql._tcp.db.b.test",
    )


def test_a_final_dot_stops_the_search() -> None:
    assert POD.candidates("_mysql._tcp.orders.db.") == ("_mysql._tcp.orders.db",)


def test_what_would_be_too_long_is_left_out_and_no_name_is_refused() -> None:
    long = ".".join(["d" * 63] * 3 + ["d" * 50])
    assert POD.candidates(long) == (long,)
    with pytest.raises(ValueError, match="empty label"):
        POD.candidates("a..b")
