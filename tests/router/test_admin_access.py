"""Who may do what over HTTP: credential files, passwords, and every rule that a request must keep."""

from __future__ import annotations

import base64
import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.admin_access import (
    Asking,
    Basic,
    Bearer,
    CredentialError,
    Credentials,
    Remembered,
    Rules,
    deny,
    hash_password,
    is_password,
    is_user,
    name_of_token,
    present,
    read_tokens,
    read_users,
)

TOKEN = "0123456789abcdef"
HASHED = hash_password("right")
LOCAL = Rules(local=True, anonymous_read=False, has_credentials=True)
REMOTE = Rules(local=False, anonymous_read=False, has_credentials=True)


def test_a_password_is_known_by_its_hash_alone() -> None:
    hashed = hash_password("grün")
    assert hashed != hash_password("grün")
    assert is_password("grün", hashed)
    assert not is_password("grun", hashed)
    known = Credentials(users=read_users(f"# people\n\nada:{hashed}\n"))
    assert is_user(known, Basic("ada", "grün"))
    assert not is_user(known, Basic("ada", ""))
    assert not is_user(known, Basic("bob", "grün"))
    assert "grün" not in repr(Basic("ada", "grün"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nobody"),
        ("ada", "line 1: a name, a colon"),
        ("# x\nada:hunter2", "line 2: not USER:HASH; write one with `fairlead router --hash-password ada`"),
        ("ada:scrypt$1073741824$8$1$AAAA$AAAA", "line 1: not USER:HASH"),
        ("ada:scrypt$x$8$1$AAAA$AAAA", "line 1: not USER:HASH"),
        (f"ada:{hash_password('a')}\nada:{hash_password('b')}", "line 2: ada stands there twice"),
    ],
)
def test_a_users_file_that_cannot_be_used(text: str, words: str) -> None:
    with pytest.raises(CredentialError) as error:
        read_users(text)
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_users_file_is_read_without_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"user{number}:{HASHED}\n" for number in range(30))
    monkeypatch.setattr(hashlib, "scrypt", None)
    assert len(read_users(text)) == 30


@settings(deadline=None, max_examples=60)
@given(
    st.one_of(st.integers(0, 15).map(lambda power: 1 << power), st.integers(-2, 5000)),
    st.one_of(st.integers(-1, 9), st.sampled_from([1 << 17, 1 << 20])),
    st.one_of(st.integers(-1, 3), st.sampled_from([16, 17])),
)
def test_parameters_that_are_let_in_are_those_that_scrypt_takes(n: int, r: int, p: int) -> None:
    hashed = f"scrypt${n}${r}${p}$AAAA${HASHED.rpartition('$')[2]}"
    with contextlib.suppress(CredentialError):  # the next tests say which
        read_users(f"ada:{hashed}")
        assert not is_password("x", hashed)  # no error


@pytest.mark.parametrize(("n", "r", "p"), [(1 << 14, 8, 1), (1 << 15, 8, 1), (2, 1, 16), (1 << 15, 1, 1)])
def test_parameters_that_people_choose(n: int, r: int, p: int) -> None:
    hashed = f"scrypt${n}${r}${p}$AAAA${HASHED.rpartition('$')[2]}"
    assert not is_password("x", read_users(f"ada:{hashed}")["ada"])


@pytest.mark.parametrize(
    ("n", "r", "p"),
    [(1 << 16, 8, 1), (1 << 14, 8, 17), (1000, 8, 1), (1 << 16, 1, 1), (2, 1, -1), (2, 0, 1), (1, 8, 1)],
)
def test_parameters_that_cost_too_much_or_are_none(n: int, r: int, p: int) -> None:
    with pytest.raises(CredentialError):
        read_users(f"ada:scrypt${n}${r}${p}$AAAA${HASHED.rpartition('$')[2]}")


def test_tokens() -> None:
    known = Credentials(tokens=read_tokens(f"ci:{TOKEN}\nother:{TOKEN[::-1]}\n"))
    assert name_of_token(known, TOKEN) == "ci"
    assert name_of_token(known, TOKEN[::-1]) == "other"
    assert name_of_token(known, TOKEN[:-1]) is None
    assert name_of_token(known, b"\xff".decode(errors="surrogateescape") + TOKEN) is None
    with pytest.raises(CredentialError, match="line 1: a token needs 16 characters") as error:
        read_tokens("ci:tooshort")
    assert "tooshort" not in str(error.value)


def test_what_a_header_presents() -> None:
    assert present(f"Bearer {TOKEN}") == Bearer(TOKEN)
    assert present("basic " + base64.b64encode(b"ada:a:b").decode()) == Basic("ada", "a:b")
    for wrong in ("", "Bearer ", "Basic !", "Basic YWRh", "Digest x", "Basic " + base64.b64encode(b"\xff:x").decode()):
        assert present(wrong) is None, wrong


def test_passwords_are_remembered_exactly_and_not_for_ever() -> None:
    remembered = Remembered()
    remembered.add(Basic("ada", "right"))
    assert remembered.knows(Basic("ada", "right"))
    assert not remembered.knows(Basic("ada", "wrong"))
    assert not remembered.knows(Basic("bob", "right"))
    for number in range(Remembered.LIMIT):
        remembered.add(Basic(f"user{number}", "x"))
    assert not remembered.knows(Basic("ada", "right"))


def change(**more: object) -> Asking:
    return Asking(**{"changes": True, "caller": "ada", "host": "127.0.0.1:8443", **more})


def read(**more: object) -> Asking:
    return Asking(**{"changes": False, "caller": None, "host": "127.0.0.1:8443", **more})


@pytest.mark.parametrize(
    ("rules", "asking", "status"),
    [
        (LOCAL, read(), None),
        (LOCAL, read(host="localhost:8443"), None),
        (LOCAL, read(host="[::1]:8443"), None),
        (LOCAL, read(host="evil.example:8443"), 403),
        (LOCAL, read(host="127.0.0.1.evil.example"), 403),
        (LOCAL, read(host="[::1"), 403),
        (LOCAL, read(host=""), 403),
        (LOCAL, read(host="evil.example", caller="ada", presented=True), None),
        (LOCAL, read(presented=True), 401),
        (LOCAL, read(origin="http://evil.example"), 403),
        (LOCAL, read(origin="http://127.0.0.1:8443"), None),
        (LOCAL, read(origin="null"), 403),
        (REMOTE, read(), 401),
        (REMOTE, read(caller="ada", presented=True), None),
        (Rules(local=False, anonymous_read=True, has_credentials=False), read(host="router.example"), None),
        (Rules(local=True, anonymous_read=True, has_credentials=False), read(host="router.example"), 403),
        (Rules(local=True, anonymous_read=True, has_credentials=False), read(), None),
        (LOCAL, change(by_token=True), None),
        (LOCAL, change(), 415),
        (LOCAL, change(content_type="text/plain"), 415),
        (LOCAL, change(content_type="application/json; charset=utf-8"), None),
        (LOCAL, change(caller=None), 401),
        (Rules(local=True, anonymous_read=True, has_credentials=False), change(caller=None), 403),
        (LOCAL, change(by_token=True, origin="https://evil.example"), 403),
        (LOCAL, change(by_token=True, origin="https://127.0.0.1:8443"), 403),
        (LOCAL, change(by_token=True, origin="https://127.0.0.1:8443", scheme="https"), None),
    ],
)
def test_rules(rules: Rules, asking: Asking, status: int | None) -> None:
    denial = deny(rules, asking)
    assert (denial.status if denial else None) == status
    assert denial is None or denial.words
