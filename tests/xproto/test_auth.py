"""Authentication answers against vectors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.xproto.fake_member import NONCE, mysql41_is_right, native_password
from xproto.auth import MYSQL41, PLAIN, SHA256_MEMORY, Login, candidates, mysql41, plain, sha256_memory
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


@pytest.mark.parametrize(
    ("password", "stored"),
    # As MySQL's manual prints them, of PASSWORD('...'): the account tables of servers before 8.0 have these.
    [
        ("mypass", "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4"),
        ("badpwd", "*AAB3E285149C0135D51A520E1940DD3263DC008C"),
    ],
)
def test_mysql41_convinces_a_server_that_stores_only_the_hash_of_the_hash(password: str, stored: str) -> None:
    assert native_password(password) == stored
    answer = mysql41(Login("probe", password, "mysql"), NONCE)
    assert len(answer) == len(b"mysql\0probe\0*") + 40
    assert mysql41_is_right(answer, "probe", stored)
    assert not mysql41_is_right(mysql41(Login("probe", password + "x"), NONCE), "probe", stored)
    assert not mysql41_is_right(mysql41(Login("probe", password), bytes(20)), "probe", stored)


def test_mysql41_without_a_password_has_nothing_to_prove() -> None:
    assert mysql41(Login("root", "", "mysql"), bytes(20)) == b"mysql\0root\0"


@pytest.mark.parametrize("answer", [sha256_memory, mysql41])
@pytest.mark.parametrize("size", [0, 19, 21])
def test_a_challenge_of_another_size_is_refused(answer: Callable[[Login, bytes], bytes], size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="a challenge of"):
        answer(LOGIN, bytes(size))


@pytest.mark.parametrize(
    ("offered", "tls", "expected"),
    [
        (["SHA256_MEMORY"], True, (SHA256_MEMORY, PLAIN)),
        (["MYSQL41", "SHA256_MEMORY"], True, (SHA256_MEMORY, MYSQL41, PLAIN)),
        (["MYSQL41"], True, (MYSQL41, PLAIN)),
        (["MYSQL41", "PLAIN"], False, (MYSQL41,)),
        (["MYSQL41", "SHA256_MEMORY"], False, (SHA256_MEMORY, MYSQL41)),
        (["SCRAM"], True, (PLAIN,)),
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
