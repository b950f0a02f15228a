"""Names as text."""

from __future__ import annotations

import pytest

from srv.names import ROOT, canonical, is_host_label, is_within, spell


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("Demo.Fairlead.TEST.", "demo.fairlead.test"),
        ("_mysql._tcp.d", "_mysql._tcp.d"),
        ("x" * 63 + ".d", "x" * 63 + ".d"),
    ],
)
def test_canonical_names(given: str, wanted: str) -> None:
    assert canonical(given) == wanted


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("", "empty"),
        (".", "empty"),
        ("a..b", "empty label"),
        (".a", "empty label"),
        ("a..", "empty label"),
        ("x" * 64, "longer than 63"),
        (".".join(["x" * 63] * 4), "longer than 253"),
        ("a b", "character besides"),
        ("münchen.test", "xn--"),
        ("a\\046b", "character besides"),
    ],
)
def test_impossible_names_are_refused(given: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        canonical(given)


def test_host_labels() -> None:
    assert all(map(is_host_label, ["m1", "a", "mysql-0", "0", "x" * 63]))
    assert not any(map(is_host_label, ["", "-a", "a-", "a_b", "a.b", "x" * 64, "ä"]))


def test_within_goes_by_whole_labels() -> None:
    assert is_within("d.test", "d.test")
    assert is_within("a.b.d.test", "d.test")
    assert not is_within("ad.test", "d.test")
    assert not is_within("test", "d.test")


def test_odd_octets_are_spelled_so_that_dots_still_part_labels() -> None:
    assert spell((b"a.b", b"Test", b"")) == "a\\046b.Test"
    assert not is_within(spell((b"x.d", b"test", b"")), "d.test")
    assert spell((b"\x00\xff\\", b"")) == "\\000\\255\\092"
    assert spell((b"",)) == ROOT
