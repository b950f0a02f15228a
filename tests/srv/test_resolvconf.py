"""resolv.conf(5)."""

from __future__ import annotations

from pathlib import Path

from srv.resolvconf import NOWHERE_SAID, parse_nameservers, read_nameservers

TEXT = """
# nameserver 192.0.2.9
search example.org
nameserver 192.0.2.1
nameserver\t2001:db8::1  trailing words
nameserver not-an-address
nameserver
  nameserver fe80::1%eth0
nameserver 192.0.2.4
options timeout:1
"""


def test_the_first_three_addresses_in_order() -> None:
    assert parse_nameservers(TEXT) == (("192.0.2.1", 53), ("2001:db8::1", 53), ("fe80::1%eth0", 53))


def test_without_any_the_local_machine_is_asked(tmp_path: Path) -> None:
    assert parse_nameservers("search example.org\n") == NOWHERE_SAID
    assert read_nameservers(tmp_path / "missing") == NOWHERE_SAID


def test_a_file_that_is_not_text_is_read_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_bytes(b"# \xff\xfe\nnameserver 192.0.2.1\n")
    assert read_nameservers(file) == (("192.0.2.1", 53),)
