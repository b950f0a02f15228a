"""How another name server is updated: what is taken and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srv.update_settings import UpdateSettings, read_secret


def settings(**changes: Any) -> UpdateSettings:
    given: dict[str, Any] = {
        "server": ("192.0.2.53", 53),
        "zone": "DB.Test.",
        "key_name": "Fairlead.",
        "secret_file": Path("secret"),
    }
    return UpdateSettings(**given | changes)


def test_names_have_one_spelling_and_a_cluster_may_have_the_zone() -> None:
    one = settings()
    assert (one.zone, one.key_name, one.server_text) == ("db.test", "fairlead", "192.0.2.53:53")
    assert settings(server=("2001:db8::1", 53)).server_text == "[2001:db8::1]:53"
    assert one.holds("db.test")
    assert one.holds("orders.db.test")
    assert not one.holds("ordersdb.test")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"server": ("ns.test", 53)}, "server 'ns.test': wanted an IP address"),
        ({"server": ("192.0.2.53", 0)}, "server port 0: wanted 1 to 65535"),
        ({"zone": "a b"}, "zone: 'a b' is not a name"),
        ({"key_name": ""}, "key name: '' is not a name"),
        ({"algorithm": "hmac-md5"}, "algorithm 'hmac-md5': wanted one of hmac-sha256"),
        ({"timeout": 0.0}, "timeout 0: wanted a number of seconds above zero"),
        ({"check_interval": float("inf")}, "check_interval inf"),
        ({"retry_first": 2.0, "retry_limit": 1.0}, "retry_first 2 is above retry_limit 1"),
    ],
)
def test_what_cannot_be_is_said_in_words(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + complaint):
        settings(**changes)


def test_a_secret_is_the_first_line(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("c2VjcmV0\n# and what it is for\n")
    assert read_secret(file) == b"secret"


@pytest.mark.parametrize("text", ["", "\nc2VjcmV0", "not base64!", "c2VjcmV0=x", 'secret "c2VjcmV0";', "gehëim"])
def test_what_is_no_secret_is_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret"
    file.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_secret(file)
    assert str(file) in str(caught.value)
    assert "base64" in str(caught.value)
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere: No such file"):
        read_secret(tmp_path / "nowhere")
