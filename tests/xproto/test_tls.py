"""TLS modes and the contexts made for them: what each promises, and what each wrong file is told."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.xproto.conftest import SERVER_NAME, TlsPair
from tests.xproto.fake_member import FakeMember
from xproto.session import Login, Session
from xproto.tls import TlsMode, make_context, parse_mode

LOGIN = Login(FakeMember.user, FakeMember.password)
SECONDS = 5.0


@pytest.mark.parametrize("mode", TlsMode)
def test_a_mode_is_read_by_its_name(mode: TlsMode) -> None:
    assert parse_mode(mode.value.upper(), has_authority=False, option="--tls") is mode


@pytest.mark.parametrize(("has_authority", "mode"), [(False, TlsMode.PREFERRED), (True, TlsMode.VERIFY_CA)])
def test_without_a_mode_it_is_what_mysqls_own_clients_do(has_authority: bool, mode: TlsMode) -> None:
    assert parse_mode(None, has_authority=has_authority, option="--tls") is mode


def test_no_mode_of_that_name() -> None:
    with pytest.raises(ValueError, match="probe_tls on: wanted one of disabled, preferred, required, verify-ca, verif"):
        parse_mode("on", has_authority=False, option="probe_tls")


@pytest.mark.parametrize(
    ("mode", "verifies", "name"),
    [
        (TlsMode.PREFERRED, False, False),
        (TlsMode.REQUIRED, False, False),
        (TlsMode.VERIFY_CA, True, False),
        (TlsMode.VERIFY_IDENTITY, True, True),
    ],
)
def test_what_each_mode_checks(tls_pair: TlsPair, mode: TlsMode, verifies: bool, name: bool) -> None:
    context = make_context(mode, ca_file=tls_pair.cert_file if verifies else None)
    assert context is not None
    assert (context.verify_mode is ssl.CERT_REQUIRED) == verifies
    assert context.check_hostname == name


def test_in_clear_there_is_no_context() -> None:
    assert make_context(TlsMode.DISABLED) is None


@pytest.mark.parametrize(
    ("mode", "name", "works"),
    [
        (TlsMode.VERIFY_CA, "other.test", True),
        (TlsMode.VERIFY_IDENTITY, SERVER_NAME, True),
        (TlsMode.VERIFY_IDENTITY, "other.test", False),
        (TlsMode.VERIFY_IDENTITY, None, False),
    ],
)
async def test_the_name_counts_only_for_identity(
    tls_pair: TlsPair, mode: TlsMode, name: str | None, works: bool
) -> None:
    context = make_context(mode, ca_file=tls_pair.cert_file)
    async with FakeMember(tls=tls_pair.server) as member:
        opening = Session.open(
            member.host, member.port, LOGIN, tls=mode, ssl_context=context, server_hostname=name, timeout=SECONDS
        )
        if works:
            await (await opening).close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
                await opening


async def test_a_certificate_of_ones_own_is_shown(tls_pair: TlsPair) -> None:
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    strict.load_cert_chain(tls_pair.cert_file, tls_pair.key_file)
    strict.load_verify_locations(tls_pair.cert_file)
    strict.verify_mode = ssl.CERT_REQUIRED
    own = make_context(TlsMode.REQUIRED, cert_file=tls_pair.cert_file, key_file=tls_pair.key_file)
    async with FakeMember(tls=strict) as member:
        session = await Session.open(
            member.host, member.port, LOGIN, tls=TlsMode.REQUIRED, ssl_context=own, timeout=SECONDS
        )
        assert session.tls
        await session.close()


@pytest.fixture
def files(tmp_path: Path, tls_pair: TlsPair) -> dict[str, Path | None]:
    """Files by the names that the cases below have for them."""
    other = ec.generate_private_key(ec.SECP256R1())
    encoding, container = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    made = {
        "other-key": other.private_bytes(encoding, container, serialization.NoEncryption()),
        "locked-key": other.private_bytes(encoding, container, serialization.BestAvailableEncryption(b"secret")),
        "text": b"not a certificate\n",
        "empty": b"",
    }
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    return {
        **{name: tmp_path / name for name in made},
        "cert": tls_pair.cert_file,
        "key": tls_pair.key_file,
        "absent": tmp_path / "absent",
        "directory": tmp_path,
        "": None,
    }


@pytest.mark.parametrize(
    ("mode", "ca", "cert", "key", "told"),
    [
        (TlsMode.VERIFY_CA, "", "", "", r"probe_tls verify-ca: needs .* with probe_tls_ca"),
        (TlsMode.VERIFY_IDENTITY, "", "", "", r"probe_tls verify-identity: needs"),
        (TlsMode.VERIFY_CA, "absent", "", "", r"probe_tls_ca \S+/absent: No such file"),
        (TlsMode.VERIFY_CA, "directory", "", "", r"probe_tls_ca \S+: Is a directory"),
        (TlsMode.VERIFY_CA, "text", "", "", r"probe_tls_ca \S+/text: not a file of PEM certificates"),
        (TlsMode.VERIFY_CA, "empty", "", "", r"probe_tls_ca \S+/empty: not a file of PEM certificates"),
        (TlsMode.VERIFY_CA, "key", "", "", r"probe_tls_ca \S+: not a file of PEM certificates"),
        (TlsMode.PREFERRED, "cert", "", "", r"probe_tls_ca \S+: preferred checks no certificate; set probe_tls to"),
        (TlsMode.DISABLED, "cert", "", "", r"probe_tls_ca \S+: disabled checks no certificate"),
        (TlsMode.DISABLED, "", "cert", "key", r"probe_tls_cert \S+: .* probe_tls disabled"),
        (TlsMode.REQUIRED, "", "", "key", r"probe_tls_key \S+: the certificate is missing; .* probe_tls_cert"),
        (TlsMode.REQUIRED, "", "absent", "key", r"probe_tls_cert \S+: No such file"),
        (TlsMode.REQUIRED, "", "cert", "absent", r"probe_tls_key \S+: No such file"),
        (TlsMode.REQUIRED, "", "cert", "text", r"probe_tls_cert \S+, probe_tls_key \S+: wanted a PEM certificate"),
        (TlsMode.REQUIRED, "", "text", "key", r"probe_tls_cert \S+, probe_tls_key \S+: wanted a PEM certificate"),
        (TlsMode.REQUIRED, "", "cert", "other-key", r"probe_tls_cert .*: wanted .* \(key values mismatch\)"),
        (TlsMode.REQUIRED, "", "cert", "", r"probe_tls_cert \S+: wanted a PEM certificate and the key"),
        (TlsMode.REQUIRED, "", "cert", "locked-key", r"probe_tls_key \S+: the key is encrypted"),
    ],
)
def test_a_wrong_file_is_named_with_its_option(
    files: dict[str, Path | None], mode: TlsMode, ca: str, cert: str, key: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        make_context(mode, ca_file=files[ca], cert_file=files[cert], key_file=files[key], option="probe_tls")


def test_the_options_of_a_command_line_have_hyphens(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--tls-ca .*absent: No such file"):
        make_context(TlsMode.VERIFY_CA, ca_file=tmp_path / "absent")
