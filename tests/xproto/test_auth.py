"""Authentication answers against vectors."""

from __future__ import annotations

import pytest

from xproto.auth import PLAIN, SHA256_MEMORY, Login, candidates, plain, sha256_memory
from xproto.errors import RemoteProtocolError

LOGIN = Login("probe", "probe-secret")


def test_plain() -> None:
    assert plain(Login("user", "pässword", "schema")) == b"schema\0user\0p\xc3\xa4ssword"


def test_sha256_memory_as_a_server_accepted_it() -> None:
    # Challenge and answer of the session in vectors/session.json: MySQL 9.7.4 answered AuthenticateOk.
    nonce = bytes.fromhex("217c01643c2f2d5971322e01605b7e5a185c4200")
    scramble = b"D4551D60F07C5B602009653ABD7FE6D750EABE6F93AC87FADFA8168DD1C0954D"
    assert sha256_memory(LOGIN, nonce) == b"\0probe\0" + scramble


def test_sha256_memory_without_a_password_has_nothing_to_prove() -> None:
    assert sha256_memory(Login("root", "", "mysql"), bytes(20)) == b"mysql\0root\0"


@pytest.mark.parametrize("size", [0, 19, 21])
def test_a_challenge_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="a challenge of"):
        sha256_memory(LOGIN, bytes(size))


@pytest.mark.parametrize(
    ("offered", "tls", "expected"),
    [
        (["SHA256_MEMORY"], True, (SHA256_MEMORY, PLAIN)),
        (["MYSQL41"], True, (PLAIN,)),
        (["SHA256_MEMORY", "PLAIN"], False, (SHA256_MEMORY,)),
        ([], False, (SHA256_MEMORY,)),
    ],
)
def test_a_password_is_shown_only_over_tls(offered: list[str], tls: bool, expected: object) -> None:
    assert candidates(offered, tls=tls) == expected


@pytest.mark.parametrize("values", [("a\0b", "p", ""), ("a", "p\0", ""), ("a", "p", "\0"), ("a", "\udc80", "")])
def test_a_login_that_cannot_be_sent_is_refused(values: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        Login(*values)


def test_a_password_is_not_shown() -> None:
    assert "probe-secret" not in repr(LOGIN)
