from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from bench.sandbox.certificates import ensure_authority, issue


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, Path]:
    pair = tmp_path / "ca.pem", tmp_path / "ca-key.pem"
    ensure_authority(*pair)
    return pair


def test_the_authority_is_made_once(authority: tuple[Path, Path]) -> None:
    before = authority[0].read_bytes()
    ensure_authority(*authority)
    assert authority[0].read_bytes() == before
    assert authority[1].stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("name", "accepted"), [("mysql-0", True), ("127.0.0.1", True), ("mysql-1", False)])
def test_a_strict_client_accepts_a_member_under_its_own_names_only(
    authority: tuple[Path, Path], tmp_path: Path, name: str, accepted: bool
) -> None:
    certificate, key = issue(*authority, ["mysql-0", "mysql-0.demo.fairlead.test", "127.0.0.1"])
    (tmp_path / "pair.pem").write_text(certificate + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "pair.pem")
    client = ssl.create_default_context(cafile=str(authority[0]))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as wrapped:
                wrapped.recv(1)
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        if accepted:
            client.wrap_socket(ours, server_hostname=name).close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                client.wrap_socket(ours, server_hostname=name)
    finally:
        ours.close()
        thread.join(5)
